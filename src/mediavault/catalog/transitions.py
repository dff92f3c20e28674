"""The only writer of `variants.status`.

Each call is one compare-and-set: it names the statuses the event may start from and, where the event belongs to a
leaseholder, the fence of its lease. Losing is not an error of the database but of the caller's timing: LostRace.
The outbox row is written in the same transaction.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Update, bindparam, func, insert, literal, null, select, update

from mediavault.catalog.identifiers import new_id
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.references import release
from mediavault.catalog.tables import outbox, variants
from mediavault.domain.lifecycle import BY_LEASEHOLDER, TRANSITIONS, Event, Status
from mediavault.errors import LostRace

_RECORD = (
    insert(outbox).values({column: bindparam(column.name) for column in outbox.c if column.name != "sequence"}).inline()
)
_BLOB_OF = (
    select(variants.c.blob_id, variants.c.retained_blob_id)
    .where(variants.c.id == bindparam("variant_id"))
    .with_for_update(key_share=True)
)
#: Events that end a reference to a blob. A removed variant keeps it for the undo window.
_LETS_GO = {Event.STORED: 1, Event.DAMAGED: 0}


@dataclass(frozen=True)
class Moved:
    """A variant after its move."""

    variant_id: str
    org_id: str
    connection_id: str
    status: Status
    fence: int


def apply(
    variant_id: str, event: Event, *, at: int, fence: int | None = None, reason: str | None = None, **columns: Any
) -> Operation[Moved]:
    """Move a variant and record the move. `columns` are set with it. Raises LostRace.

    A stored variant lets go of the bytes retained from before its removal; a damaged one of its bad bytes.
    """
    if (event in BY_LEASEHOLDER) != (fence is not None):
        raise TypeError(f"{event} {'needs' if fence is None else 'takes no'} fence")
    released = yield from _released(variant_id, event)
    values = {f"set_{name}": value for name, value in columns.items()}
    move = _move(event, frozenset(columns))
    rows = yield Do(move, {"variant_id": variant_id, "at": at, "held_fence": fence, **values})
    if not rows:
        raise LostRace(f"{variant_id} could not be {event}")
    org_id, connection_id, new_fence = rows[0]
    yield Do(
        _RECORD,
        {
            "id": new_id(at),
            "org_id": org_id,
            "connection_id": connection_id,
            "variant_id": variant_id,
            "event": event.value,
            "reason": reason,
            "created_at": at,
        },
    )
    if released is not None:
        yield from release(released)
    return Moved(variant_id, org_id, connection_id, TRANSITIONS[event].target, new_fence)


def _released(variant_id: str, event: Event) -> Operation[str | None]:
    """The blob the variant will no longer refer to, with the variant locked until the commit."""
    if event not in _LETS_GO:
        return None
    rows = yield Do(_BLOB_OF, {"variant_id": variant_id})
    return rows[0][_LETS_GO[event]] if rows else None


@cache
def _move(event: Event, columns: frozenset[str]) -> Update:
    transition = TRANSITIONS[event]
    sources = [literal(status.value) for status in sorted(transition.sources)]
    statement = update(variants).where(variants.c.id == bindparam("variant_id"), variants.c.status.in_(sources))
    if event in BY_LEASEHOLDER:
        statement = statement.where(variants.c.fence == bindparam("held_fence"))
    if event is Event.RESTORED:
        statement = statement.where(variants.c.retained_blob_id.is_not(None))
    statement = statement.values(status=transition.target.value, changed_at=bindparam("at"), **_lease(event))
    statement = statement.values({name: bindparam(f"set_{name}") for name in sorted(columns)})
    return statement.values(_blob(event)).returning(variants.c.org_id, variants.c.connection_id, variants.c.fence)


def _lease(event: Event) -> dict[str, Any]:
    """A claim raises the fence; every other move ends the lease there may be."""
    if event is Event.CLAIMED:
        return {"fence": variants.c.fence + 1}
    return {"lease_holder": null(), "lease_expires_at": null()}


def _blob(event: Event) -> dict[str, Any]:
    """Where the bytes of a variant stand after the event: a removed one keeps them for the undo window.

    `removed_at` stays with the retained bytes when the variant is seen again, so that the window still ends.
    """
    if event is Event.REMOVED:
        return {
            "retained_blob_id": func.coalesce(variants.c.blob_id, variants.c.retained_blob_id),
            "blob_id": null(),
            "removed_at": bindparam("at"),
            "stored_at": null(),
        }
    if event is Event.RESTORED:
        return {
            "blob_id": variants.c.retained_blob_id,
            "retained_blob_id": null(),
            "removed_at": null(),
            "stored_at": bindparam("at"),
        }
    if event is Event.DAMAGED:
        return {"blob_id": null(), "stored_at": null()}
    if event is Event.STORED:
        return {"retained_blob_id": null(), "removed_at": null()}
    return {}
