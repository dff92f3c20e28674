"""Reading the outbox: for the event stream and replays, and what is too old to be kept."""

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, func, select

from mediavault.catalog.database import Catalog
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.tables import EndpointState, is_in, organisations, outbox, webhook_endpoints


@dataclass(frozen=True)
class EventRow:
    """One recorded event."""

    seq: int
    id: str
    connection_id: str
    type: str
    data: str  #: JSON
    created_at: int


_COLUMNS = tuple(outbox.c[name] for name in ("seq", "id", "connection_id", "type", "data", "created_at"))
_OF_ORG = outbox.c.org_id == bindparam("of_org")
AFTER = (
    select(*_COLUMNS)
    .where(_OF_ORG, outbox.c.seq > bindparam("after"))
    .order_by(outbox.c.seq)
    .limit(bindparam("at_most"))
)
BY_ID = select(*_COLUMNS).where(_OF_ORG, outbox.c.id == bindparam("event_id"))
_LATEST = select(organisations.c.event_seq).where(organisations.c.id == bindparam("of_org"))
_OLDEST = select(func.min(outbox.c.seq)).where(_OF_ORG)
_KEEPERS = (
    select(organisations.c.id, organisations.c.event_seq)
    .where(organisations.c.event_seq > 0, organisations.c.id > bindparam("after"))
    .order_by(organisations.c.id)
    .limit(1)
)
_FIRST_YOUNG = select(func.min(outbox.c.seq)).where(_OF_ORG, outbox.c.created_at >= bindparam("before"))
_SLOWEST = select(func.min(webhook_endpoints.c.cursor_seq)).where(
    webhook_endpoints.c.org_id == bindparam("of_org"), is_in(webhook_endpoints.c.state, EndpointState.ENABLED)
)
_DELETE = delete(outbox).where(_OF_ORG, outbox.c.seq < bindparam("below")).returning(outbox.c.seq)


async def latest(catalog: Catalog, org_id: str) -> int:
    """The number of the organisation's last event; 0 before the first."""
    rows = await catalog.fetch(_LATEST, {"of_org": org_id})
    return int(rows[0][0]) if rows else 0


async def oldest(catalog: Catalog, org_id: str) -> int | None:
    """The number of the oldest event that is kept."""
    rows = await catalog.fetch(_OLDEST, {"of_org": org_id})
    found: int | None = rows[0][0]
    return found


async def after(catalog: Catalog, org_id: str, seq: int, at_most: int) -> list[EventRow]:
    """The events behind a number, in order."""
    rows = await catalog.fetch_list(AFTER, {"of_org": org_id, "after": seq, "at_most": at_most})
    return [EventRow(*row) for row in rows]


async def next_organisation(catalog: Catalog, org_id: str) -> tuple[str, int] | None:
    """The organisation behind that id that has had events, with the number of its last one."""
    rows = await catalog.fetch(_KEEPERS, {"after": org_id})
    return (rows[0][0], rows[0][1]) if rows else None


def forget(org_id: str, latest_seq: int, before: int, at_most: int) -> Operation[int]:
    """Delete the oldest events made before that time that every enabled endpoint was told of; how many.

    Only ever from the front: what remains is numbered without gaps. A disabled endpoint keeps nothing back: it starts
    at the present when it is enabled again.
    """
    first = (yield Do(_OLDEST, {"of_org": org_id}))[0][0]
    if first is None:
        return 0
    young = (yield Do(_FIRST_YOUNG, {"of_org": org_id, "before": before}))[0][0]
    slowest = (yield Do(_SLOWEST, {"of_org": org_id}))[0][0]
    kept_from = latest_seq + 1 if young is None else young
    if slowest is not None:
        kept_from = min(kept_from, slowest + 1)
    below = min(kept_from, first + at_most)
    if below <= first:
        return 0
    return len((yield Do(_DELETE, {"of_org": org_id, "below": below})))
