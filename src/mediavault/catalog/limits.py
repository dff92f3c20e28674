"""The storage limit of a connection: room is reserved before bytes are written, and evicted for where it lacks.

The connection's usage row is the lock: who holds it decides alone, so stored and reserved bytes together never exceed
the limit, unless the limit was lowered afterwards.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Select, bindparam, select, update

from mediavault.catalog import events, transitions, usage
from mediavault.catalog.leases import Claim
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.pins import unpinned
from mediavault.catalog.removals import Removed
from mediavault.catalog.tables import connections, is_in, media, organisations, variants
from mediavault.domain.eviction import Candidate, choose
from mediavault.domain.lifecycle import Event, Status
from mediavault.domain.reasons import printable
from mediavault.domain.settings import PurgeStrategy, VaultSettings
from mediavault.errors import LimitReached, LostRace, RoomPromised

#: What subscribers are told when something is not stored for want of room.
LIMIT_REACHED = "vault.limit.reached"

#: Folds an organisation's and a connection's settings, as they are stored.
Fold = Callable[[str, str | None], VaultSettings]

_BATCH = 200
_ORDERS = {
    "purge_oldest": (variants.c.stored_at, variants.c.id),
    "purge_largest": (variants.c.size_bytes.desc(), variants.c.id),
    "purge_smallest": (variants.c.size_bytes, variants.c.id),
}


def _candidates(order: tuple[Any, ...], *, waits: bool) -> Select[Any]:
    """What may go, in a strategy's order. Both rows are held that the removal will move.

    Whoever asks holds the usage row, which others take after these: it takes what is free first and only then waits.
    """
    return (
        select(variants.c.id, variants.c.size_bytes, variants.c.stored_at)
        .join_from(variants, media, media.c.id == variants.c.media_pk)
        .where(
            variants.c.connection_id == bindparam("connection_id"),
            variants.c.org_id == bindparam("org_id"),
            is_in(variants.c.status, Status.STORED),
            variants.c.size_bytes > 0,
            unpinned(),
        )
        .order_by(*order)
        .limit(bindparam("at_most"))
        .with_for_update(skip_locked=not waits, key_share=True)
    )


#: For each strategy: what nobody else holds, then everything.
_CANDIDATES = {
    strategy: (_candidates(order, waits=False), _candidates(order, waits=True)) for strategy, order in _ORDERS.items()
}
_HELD = (
    select(variants.c.reserved_bytes)
    .where(
        variants.c.id == bindparam("variant_id"),
        variants.c.fence == bindparam("held_fence"),
        is_in(variants.c.status, Status.STORING),
    )
    .with_for_update(key_share=True)
)
_RESERVE = (
    update(variants).where(variants.c.id == bindparam("variant_id")).values(reserved_bytes=bindparam("set_reserved"))
)
_SETTINGS = (
    select(organisations.c.settings, connections.c.settings_overrides)
    .join_from(connections, organisations, organisations.c.id == connections.c.org_id)
    .where(connections.c.id == bindparam("connection_id"), connections.c.org_id == bindparam("org_id"))
)
_MEDIA_OF = (
    select(media.c.media_id, variants.c.label)
    .join_from(variants, media, media.c.id == variants.c.media_pk)
    .where(variants.c.id == bindparam("variant_id"))
)


def make_room(
    org_id: str,
    connection_id: str,
    *,
    limit_bytes: int,
    strategy: PurgeStrategy,
    incoming_bytes: int,
    reason: str,
    now: int,
    at_most: int | None = None,
) -> Operation[Removed]:
    """Evict by strategy until stored + reserved + incoming bytes are within the limit; 0 is no limit.

    Removes no more than needed, and less where pins, reservations or `block_new` forbid it: it never raises for that.
    With `at_most` it removes so many variants and no more, for callers that go on in a transaction of its own until
    nothing is removed. What is evicted is not queued again by itself.
    """
    removed: list[str] = []
    freed = 0
    if limit_bytes == 0:
        return Removed((), 0)
    used = yield from usage.locked(connection_id)
    excess = used.stored_bytes + used.reserved_bytes + incoming_bytes - limit_bytes
    for statement in _CANDIDATES.get(strategy, ()):
        while excess > freed and (at_most is None or len(removed) < at_most):
            wanted = _BATCH if at_most is None else min(_BATCH, at_most - len(removed))
            tenant = {"org_id": org_id, "connection_id": connection_id}
            rows = yield Do(statement, {**tenant, "now": now, "at_most": wanted})
            if not rows:
                break
            for gone in choose([Candidate(*row) for row in rows], strategy, excess - freed):
                if gone.variant_id in removed:  # a derived thumbnail that went along with its original
                    continue
                move = transitions.apply(gone.variant_id, Event.REMOVED, at=now, reason=reason, kept_out=reason)
                moved = yield from move
                removed += [gone.variant_id, *(each.variant_id for each in moved.along)]
                freed += gone.size_bytes + sum(each.freed_bytes for each in moved.along)
    return Removed(tuple(removed), freed)


def shrink(org_id: str, connection_id: str, fold: Fold, now: int, at_most: int) -> Operation[tuple[Removed, str]]:
    """Evict so many variants at most for the limit as it is now, and for which reason; empty when all fits."""
    yield from usage.locked(connection_id)
    settings = yield from find_settings(org_id, connection_id, fold)
    reason = limit_reason(settings)
    removed = yield from make_room(
        org_id,
        connection_id,
        limit_bytes=settings.storage_limit_bytes,
        strategy=settings.storage_limit_purge_strategy,
        incoming_bytes=0,
        reason=reason,
        now=now,
        at_most=at_most,
    )
    return removed, reason


def limit_reason(settings: VaultSettings) -> str:
    """Why the storage limit removes."""
    strategy = settings.storage_limit_purge_strategy
    return f"evicted by {strategy} for the storage limit of {settings.storage_limit_bytes} bytes"


def find_settings(org_id: str, connection_id: str, fold: Fold) -> Operation[VaultSettings]:
    """The connection's settings as this transaction sees them. Raises LostRace when it is gone."""
    rows = yield Do(_SETTINGS, {"connection_id": connection_id, "org_id": org_id})
    if not rows:
        raise LostRace(f"the connection {connection_id} is gone")
    return fold(*rows[0])


def fit(org_id: str, connection_id: str, incoming_bytes: int, fold: Fold, now: int) -> Operation[Removed]:
    """Make room for that many bytes under the limit as it is now. Raises LimitReached, RoomPromised; all stays then.

    The settings are read once the usage row is held: whoever lowers the limit and evicts for it comes before that, and
    its limit is seen, or after this transaction, and sees what it took.
    """
    before = yield from usage.locked(connection_id)
    settings = yield from find_settings(org_id, connection_id, fold)
    limit, strategy = settings.storage_limit_bytes, settings.storage_limit_purge_strategy
    if limit and incoming_bytes > limit:
        raise LimitReached(f"its {incoming_bytes} bytes are more than the storage limit of {limit}")
    removed = yield from make_room(
        org_id,
        connection_id,
        limit_bytes=limit,
        strategy=strategy,
        incoming_bytes=incoming_bytes,
        reason=limit_reason(settings),
        now=now,
    )
    lacking = before.stored_bytes + before.reserved_bytes + incoming_bytes - removed.freed_bytes - limit
    if limit and lacking > 0:
        raise _refusal(limit, strategy, evictable_soon=lacking <= before.reserved_bytes)
    return removed


def _refusal(limit: int, strategy: PurgeStrategy, *, evictable_soon: bool) -> LimitReached:
    if strategy == "block_new":
        return LimitReached(f"the storage limit of {limit} bytes is reached and its strategy is block_new")
    if evictable_soon:
        return RoomPromised(f"the room under the storage limit of {limit} bytes is promised to stores under way")
    return LimitReached(f"the storage limit of {limit} bytes is reached and what is stored is pinned")


def reserve(claim: Claim, size_bytes: int, fold: Fold, now: int) -> Operation[Removed]:
    """Promise room to a store, before it writes; the promise ends with its lease. What was evicted for it.

    Raises LimitReached, RoomPromised, and LostRace for a stale fence.
    """
    held = yield Do(_HELD, {"variant_id": claim.variant_id, "held_fence": claim.fence})
    if not held:
        raise LostRace(f"the lease of {claim.variant_id} is no longer held")
    more = size_bytes - held[0][0]
    removed = yield from fit(claim.org_id, claim.connection_id, more, fold, now)
    yield Do(_RESERVE, {"variant_id": claim.variant_id, "set_reserved": size_bytes})
    yield from usage.change(claim.connection_id, reserved_bytes=more)
    return removed


def reserve_free(claim: Claim, size_bytes: int, fold: Fold) -> Operation[None]:
    """Promise room that is free under the limit; nothing is evicted for it. Raises LimitReached, LostRace."""
    if not (yield Do(_HELD, {"variant_id": claim.variant_id, "held_fence": claim.fence})):
        raise LostRace(f"the lease of {claim.variant_id} is no longer held")
    used = yield from usage.locked(claim.connection_id)
    limit = (yield from find_settings(claim.org_id, claim.connection_id, fold)).storage_limit_bytes
    if limit and used.stored_bytes + used.reserved_bytes + size_bytes > limit:
        raise LimitReached(f"its {size_bytes} bytes do not fit under the storage limit of {limit} bytes")
    yield Do(_RESERVE, {"variant_id": claim.variant_id, "set_reserved": size_bytes})
    yield from usage.change(claim.connection_id, reserved_bytes=size_bytes)


def refuse(claim: Claim, reason: str, now: int) -> Operation[None]:
    """Give up a store for want of room, and tell. Raises LostRace.

    Viewers may still ask the origin; it is tried again when the origin shows a new URL, or when somebody asks for it.
    """
    told = printable(reason)
    # The variant, then the usage, then the events' number: everybody takes them in this order.
    yield Do(_HELD, {"variant_id": claim.variant_id, "held_fence": claim.fence})
    used = yield from usage.locked(claim.connection_id)
    yield from transitions.apply(
        claim.variant_id,
        Event.GIVEN_UP,
        at=now,
        fence=claim.fence,
        reason=told,
        attempts=claim.attempts + 1,
        last_error=told,
    )
    media_id, label = (yield Do(_MEDIA_OF, {"variant_id": claim.variant_id}))[0]
    data: dict[str, object] = {
        "connectionId": claim.connection_id,
        "mediaId": media_id,
        "quality": label,
        "storedBytes": used.stored_bytes,
        "reservedBytes": used.reserved_bytes,
        "reason": told,
    }
    yield from events.record(
        claim.org_id,
        LIMIT_REACHED,
        data,
        connection_id=claim.connection_id,
        at=now,
        variant_id=claim.variant_id,
    )
