"""What policy removes with time: media stored too long ago, or not viewed for too long; and what disconnects left.

Settings are read in the transaction that removes: a policy that was lifted, or is off with Vault+, removes nothing
afterwards.
"""

from sqlalchemy import ColumnElement, Select, bindparam, select

from mediavault.catalog import derivations, row_locks
from mediavault.catalog.database import Catalog
from mediavault.catalog.limits import Fold, find_policy
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.pins import unpinned
from mediavault.catalog.removals import Removed, remove_rows
from mediavault.catalog.tables import connections, is_in, media, usage, variants
from mediavault.domain.lifecycle import Status
from mediavault.domain.policy import access_expiry_reason, retention_reason
from mediavault.domain.times import DAY

_BATCH = 200
_PAGE = 500


def _overdue(*due: ColumnElement[bool]) -> Select[tuple[str, str, int]]:
    """Stored variants past a time, without those that a pin protects."""
    return (
        select(variants.c.id)
        .join_from(variants, media, media.c.id == variants.c.media_pk)
        .where(
            variants.c.connection_id == bindparam("connection_id"),
            variants.c.org_id == bindparam("org_id"),
            is_in(variants.c.status, Status.STORED),
            *due,
            unpinned(),
        )
        .limit(_BATCH)
    )


_STORED_TOO_LONG = _overdue(variants.c.stored_at <= bindparam("before")).order_by(variants.c.stored_at, variants.c.id)
#: Storing begins the time too: what was stored or restored just now is not removed for views of long ago.
_NOT_VIEWED = _overdue(
    variants.c.last_accessed_at <= bindparam("before"), variants.c.stored_at <= bindparam("before")
).order_by(variants.c.last_accessed_at)
_LEFTOVERS = (
    select(connections.c.org_id, connections.c.id)
    .join_from(connections, usage, usage.c.connection_id == connections.c.id)
    .where(connections.c.id > bindparam("after"), connections.c.disconnected_at.is_not(None), usage.c.live_count > 0)
    .order_by(connections.c.id)
    .limit(_PAGE)
)


async def with_policies(catalog: Catalog, fold: Fold) -> list[tuple[str, str]]:
    """`(organisation, connection)` of those with Vault+ on, stored media and a policy that ends with time."""
    found: list[tuple[str, str]] = []
    for org_id, connection_id, organisation, overrides in await derivations.with_stored(catalog):
        settings = fold(organisation, overrides)
        if settings.retention_days or settings.access_expiry_days:
            found.append((org_id, connection_id))
    return found


async def leftovers(catalog: Catalog) -> list[tuple[str, str]]:
    """`(organisation, connection)` of the disconnected that still have live media."""
    found: list[tuple[str, str]] = []
    after = ""
    while rows := await catalog.fetch_list(_LEFTOVERS, {"after": after}):
        after = rows[-1][1]
        found.extend((row[0], row[1]) for row in rows)
    return found


def expire_some(org_id: str, connection_id: str, fold: Fold, now: int) -> Operation[Removed]:
    """Remove a batch of what is past the connection's retention, then of what nobody viewed; empty when nothing is."""
    policy = yield from find_policy(org_id, connection_id, fold)
    settings = policy.settings
    if not policy.enabled:
        return Removed((), 0)
    policies = (
        (settings.retention_days, _STORED_TOO_LONG, retention_reason),
        (settings.access_expiry_days, _NOT_VIEWED, access_expiry_reason),
    )
    for days, statement, reason_of in policies:
        if days:
            past = {"org_id": org_id, "connection_id": connection_id, "before": now - days * DAY, "now": now}
            found = yield Do(statement, past)
            # Asked again when they are held: who was at work on one has decided about it first, and so has whoever
            # changed the policy meanwhile.
            held = {row[0] for row in found}
            yield from row_locks.hold(held, with_derived=True)
            if held and (yield from find_policy(org_id, connection_id, fold)) != policy:
                return Removed((), 0)
            rows = [row for row in (yield Do(statement, past)) if row[0] in held] if held else ()
            if rows:
                return (yield from remove_rows(rows, reason_of(days), now))
    return Removed((), 0)
