"""The storage limit of a connection: room is reserved before bytes are written, and evicted for where it lacks.

The connection's usage row is the lock: who holds it decides alone, so stored and reserved bytes together never exceed
the limit, unless the limit was lowered afterwards. While Vault+ is off nothing is evicted for it: what does not fit is
refused.
"""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Select, bindparam, select, update

from mediavault.catalog import events, row_locks, transitions, usage
from mediavault.catalog.leases import Claim
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.pins import unpinned
from mediavault.catalog.removals import Removed
from mediavault.catalog.tables import connections, is_in, media, organisations, variants
from mediavault.domain.eviction import Candidate, choose
from mediavault.domain.lifecycle import Event, Status
from mediavault.domain.policy import Policy
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


def _candidates(order: tuple[Any, ...]) -> Select[Any]:
    """What may go, in a strategy's order."""
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
    )


_CANDIDATES = {strategy: _candidates(order) for strategy, order in _ORDERS.items()}
#: What nobody else holds: whoever asks holds the usage row, behind which nobody waits for a variant.
_FREE = {
    strategy: statement.with_for_update(skip_locked=True, key_share=True) for strategy, statement in _CANDIDATES.items()
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
    update(variants)
    .where(
        variants.c.id == bindparam("variant_id"),
        variants.c.fence == bindparam("held_fence"),
        is_in(variants.c.status, Status.STORING),
    )
    .values(reserved_bytes=bindparam("set_reserved"))
    .returning(variants.c.id)
)
_SETTINGS = (
    select(organisations.c.settings, connections.c.settings_overrides, connections.c.vault_plus_enabled)
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
    while strategy in _FREE and excess > freed and (at_most is None or len(removed) < at_most):
        wanted = _BATCH if at_most is None else min(_BATCH, at_most - len(removed))
        tenant = {"org_id": org_id, "connection_id": connection_id}
        rows = yield Do(_FREE[strategy], {**tenant, "now": now, "at_most": wanted})
        free = yield from row_locks.with_derived_held([row[0] for row in rows])
        if not free:
            break
        for gone in choose([Candidate(*row) for row in rows if row[0] in free], strategy, excess - freed):
            if gone.variant_id in removed:  # a derived thumbnail that went along with its original
                continue
            moved = yield from transitions.apply(gone.variant_id, Event.REMOVED, at=now, reason=reason, kept_out=reason)
            removed += [gone.variant_id, *(each.variant_id for each in moved.along)]
            freed += gone.size_bytes + sum(each.freed_bytes for each in moved.along)
    return Removed(tuple(removed), freed)


def hold_room(
    org_id: str, connection_id: str, incoming_bytes: int, fold: Fold, now: int, besides: Sequence[str] = ()
) -> Operation[None]:
    """Hold what would go for that many bytes, and the variants `besides`: in their order, so before the usage row."""
    policy = yield from find_policy(org_id, connection_id, fold)
    limit, strategy = policy.settings.storage_limit_bytes, policy.evicts_by
    chosen: list[Candidate] = []
    if limit and strategy in _CANDIDATES:
        used = yield from usage.seen(connection_id)
        excess = used.stored_bytes + used.reserved_bytes + incoming_bytes - limit
        if excess > 0:
            asked = {"org_id": org_id, "connection_id": connection_id, "now": now, "at_most": _BATCH}
            rows = yield Do(_CANDIDATES[strategy], asked)
            chosen = choose([Candidate(*row) for row in rows], strategy, excess)
    yield from row_locks.hold([*besides, *(each.variant_id for each in chosen)], with_derived=True)


def shrink(org_id: str, connection_id: str, fold: Fold, now: int, at_most: int) -> Operation[tuple[Removed, str]]:
    """Evict so many variants at most for the limit as it is now, and for which reason; empty when all fits."""
    yield from hold_room(org_id, connection_id, 0, fold, now)
    yield from usage.locked(connection_id)
    policy = yield from find_policy(org_id, connection_id, fold)
    settings, reason = policy.settings, limit_reason(policy.settings)
    if not policy.enabled:
        return Removed((), 0), reason
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


def find_policy(org_id: str, connection_id: str, fold: Fold) -> Operation[Policy]:
    """What holds for the connection as this transaction sees it. Raises LostRace when it is gone."""
    rows = yield Do(_SETTINGS, {"connection_id": connection_id, "org_id": org_id})
    if not rows:
        raise LostRace(f"the connection {connection_id} is gone")
    organisation, overrides, enabled = rows[0]
    return Policy(fold(organisation, overrides), bool(enabled))


def fit(org_id: str, connection_id: str, incoming_bytes: int, fold: Fold, now: int) -> Operation[Removed]:
    """Make room for that many bytes under the limit as it is now. Raises LimitReached, RoomPromised; all stays then.

    What may go for it is held by `hold_room`; of the rest only what is free goes.

    The settings are read once the usage row is held: whoever lowers the limit and evicts for it comes before that, and
    its limit is seen, or after this transaction, and sees what it took.
    """
    before = yield from usage.locked(connection_id)
    policy = yield from find_policy(org_id, connection_id, fold)
    settings, limit, strategy = policy.settings, policy.settings.storage_limit_bytes, policy.evicts_by
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
        tenant = {"org_id": org_id, "connection_id": connection_id, "now": now, "at_most": 1}
        others = strategy in _CANDIDATES and bool((yield Do(_CANDIDATES[strategy], tenant)))
        raise _refusal(policy, evictable_soon=lacking <= before.reserved_bytes or others)
    return removed


def limit_reached(policy: Policy) -> LimitReached:
    """The refusal of whoever evicts nothing."""
    why = "its strategy is block_new" if policy.enabled else "nothing is evicted while Vault+ is off"
    return LimitReached(f"the storage limit of {policy.settings.storage_limit_bytes} bytes is reached and {why}")


def _refusal(policy: Policy, *, evictable_soon: bool) -> LimitReached:
    limit = policy.settings.storage_limit_bytes
    if policy.evicts_by == "block_new":
        return limit_reached(policy)
    if evictable_soon:
        return RoomPromised(f"the room under the storage limit of {limit} bytes is promised to stores under way")
    return LimitReached(f"the storage limit of {limit} bytes is reached and what is stored is pinned")


def reserve(claim: Claim, size_bytes: int, fold: Fold, now: int) -> Operation[Removed]:
    """Promise room to a store, before it writes; the promise ends with its lease. What was evicted for it.

    Raises LimitReached, RoomPromised, and LostRace for a stale fence.
    """
    yield from hold_room(claim.org_id, claim.connection_id, size_bytes, fold, now, [claim.variant_id])
    held = yield Do(_HELD, _of(claim))
    if not held:
        raise LostRace(f"the lease of {claim.variant_id} is no longer held")
    more = size_bytes - held[0][0]
    removed = yield from fit(claim.org_id, claim.connection_id, more, fold, now)
    if not (yield Do(_RESERVE, {**_of(claim), "set_reserved": size_bytes})):
        raise LimitReached("what it is made of would have to go for it")  # and it would have gone along
    yield from usage.change(claim.connection_id, reserved_bytes=more)
    return removed


def reserve_free(claim: Claim, size_bytes: int, fold: Fold) -> Operation[None]:
    """Promise room that is free under the limit; nothing is evicted for it. Raises LimitReached, LostRace."""
    if not (yield Do(_HELD, _of(claim))):
        raise LostRace(f"the lease of {claim.variant_id} is no longer held")
    used = yield from usage.locked(claim.connection_id)
    limit = (yield from find_policy(claim.org_id, claim.connection_id, fold)).settings.storage_limit_bytes
    if limit and used.stored_bytes + used.reserved_bytes + size_bytes > limit:
        raise LimitReached(f"its {size_bytes} bytes do not fit under the storage limit of {limit} bytes")
    yield Do(_RESERVE, {**_of(claim), "set_reserved": size_bytes})
    yield from usage.change(claim.connection_id, reserved_bytes=size_bytes)


def _of(claim: Claim) -> dict[str, object]:
    return {"variant_id": claim.variant_id, "held_fence": claim.fence}


def refuse(claim: Claim, reason: str, now: int) -> Operation[None]:
    """Give up a store for want of room, and tell. Raises LostRace.

    Viewers may still ask the origin; it is tried again when the origin shows a new URL, or when somebody asks for it.
    """
    told = printable(reason)
    yield from row_locks.hold([claim.variant_id])
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
