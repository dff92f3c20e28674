"""Events: one row a committed change, numbered without gaps per organisation in the order of the commits.

The counter is a row of the organisation that every recording transaction updates, so it is held until the commit: a
reader that has seen number n has seen everything before it, on both engines. It is what makes a plain cursor enough for
webhooks and the event stream.
"""

import msgspec
from sqlalchemy import bindparam, insert, update

from mediavault.catalog.identifiers import new_id
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.tables import organisations, outbox

_NEXT = (
    update(organisations)
    .where(organisations.c.id == bindparam("org_id"))
    .values(event_seq=organisations.c.event_seq + 1)
    .returning(organisations.c.event_seq)
)
_RECORD = insert(outbox).values({column: bindparam(column.name) for column in outbox.c})


def record(
    org_id: str, kind: str, data: dict[str, object], *, connection_id: str, at: int, variant_id: str | None = None
) -> Operation[int]:
    """Record one event in the running transaction; its number. `data` is what subscribers are told: no secrets."""
    rows = yield Do(_NEXT, {"org_id": org_id})
    number: int = rows[0][0]
    yield Do(
        _RECORD,
        {
            "org_id": org_id,
            "seq": number,
            "id": f"evt_{new_id(at)}",
            "connection_id": connection_id,
            "variant_id": variant_id,
            "type": kind,
            "data": msgspec.json.encode(data).decode(),
            "created_at": at,
        },
    )
    return number
