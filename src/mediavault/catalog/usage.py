"""Usage: what a connection has, kept in the transaction of every change.

Reported totals are these rows: `live_count`, `stored_count` and `stored_bytes` always equal COUNT and SUM of the
variants, `reserved_bytes` the open reservations (reliability, invariant 5).
"""

from dataclasses import dataclass

from sqlalchemy import bindparam, insert, select, update

from mediavault.catalog.database import Catalog
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.tables import usage

_ADD = insert(usage).values(
    {usage.c.connection_id: bindparam("connection_id"), usage.c.org_id: bindparam("org_id")}
    | {usage.c[name]: 0 for name in ("live_count", "stored_count", "stored_bytes", "reserved_bytes")}
)
_CHANGE = (
    update(usage)
    .where(usage.c.connection_id == bindparam("of_connection"))
    .values(
        live_count=usage.c.live_count + bindparam("live"),
        stored_count=usage.c.stored_count + bindparam("stored"),
        stored_bytes=usage.c.stored_bytes + bindparam("stored_size"),
        reserved_bytes=usage.c.reserved_bytes + bindparam("reserved"),
    )
)
_FOUND = select(usage.c.live_count, usage.c.stored_count, usage.c.stored_bytes, usage.c.reserved_bytes).where(
    usage.c.connection_id == bindparam("connection_id")
)
_LOCKED = _FOUND.with_for_update()


@dataclass(frozen=True)
class Usage:
    """What a connection has."""

    live_count: int  #: variants that are not removed
    stored_count: int
    stored_bytes: int
    reserved_bytes: int  #: promised to stores that are under way


async def find(catalog: Catalog, connection_id: str) -> Usage:
    """What a connection has now."""
    rows = await catalog.fetch(_FOUND, {"connection_id": connection_id})
    return Usage(*rows[0]) if rows else Usage(0, 0, 0, 0)


def begin(org_id: str, connection_id: str) -> Operation[None]:
    """A new connection has nothing."""
    yield Do(_ADD, {"org_id": org_id, "connection_id": connection_id})


def change(
    connection_id: str, *, live: int = 0, stored: int = 0, stored_bytes: int = 0, reserved_bytes: int = 0
) -> Operation[None]:
    """Add to what a connection has; differences may be negative."""
    if live or stored or stored_bytes or reserved_bytes:
        values = {"live": live, "stored": stored, "stored_size": stored_bytes, "reserved": reserved_bytes}
        yield Do(_CHANGE, {"of_connection": connection_id, **values})


def seen(connection_id: str) -> Operation[Usage]:
    """What a connection has as the running transaction sees it; it may be otherwise a moment later."""
    rows = yield Do(_FOUND, {"connection_id": connection_id})
    return Usage(*rows[0]) if rows else Usage(0, 0, 0, 0)


def locked(connection_id: str) -> Operation[Usage]:
    """What a connection has; nobody else changes it before this transaction ends."""
    rows = yield Do(_LOCKED, {"connection_id": connection_id})
    return Usage(*rows[0])
