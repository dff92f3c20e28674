"""What a change of policy looks at, and what it does: pages of a connection's variants, moved a batch a transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select

from mediavault.catalog import blob_rows, configuration, row_locks, transitions
from mediavault.catalog.blob_rows import StoredBytes
from mediavault.catalog.configuration import Configured
from mediavault.catalog.database import Catalog
from mediavault.catalog.leases import Claim
from mediavault.catalog.operations import Do, Operation, Row
from mediavault.catalog.padding import chunks, is_among, padded
from mediavault.catalog.tables import is_in, media, usage, variants
from mediavault.catalog.transitions import Moved
from mediavault.domain.lifecycle import Event, Status
from mediavault.domain.media import MediaType, Source
from mediavault.domain.policy import Effect, Facts, Standing
from mediavault.errors import LostRace

#: Variants looked at with one question, and moved at most in one transaction.
BATCH = 500

#: What a policy, as it is stored when the transaction runs, does to a variant. Pure.
Judge = Callable[[Configured, Standing], Effect | None]


@dataclass(frozen=True, slots=True)
class Found:
    """A variant on a page."""

    id: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class Enacted:
    """What was done to one variant."""

    variant_id: str
    effect: Effect
    size_bytes: int


_COLUMNS = (
    variants.c.id,
    media.c.type,
    variants.c.label,
    media.c.sources,
    variants.c.access_count,
    variants.c.status,
    variants.c.size_bytes,
    variants.c.stored_at,
    variants.c.last_accessed_at,
    media.c.pinned_at,
    media.c.pinned_until,
    variants.c.attempts,
    variants.c.kept_out,
    variants.c.decided_by,
)
_MINE = (variants.c.org_id == bindparam("org_id"), variants.c.connection_id == bindparam("connection_id"))
_SELECT = (
    select(*_COLUMNS)
    .join_from(variants, media, media.c.id == variants.c.media_pk)
    .where(*_MINE)
    .order_by(variants.c.id)
)
_PAGES = {
    status: _SELECT.where(is_in(variants.c.status, status), variants.c.id > bindparam("after")).limit(BATCH)
    for status in (Status.PENDING, Status.STORING, Status.STORED, Status.EDGE_ONLY)
}
#: The media rows are held too: a pin is either seen here, or waits until this is done.
_HELD = _SELECT.where(is_among(variants.c.id)).with_for_update(key_share=True)

_CLAIMED = (
    select(*_COLUMNS)
    .join_from(variants, media, media.c.id == variants.c.media_pk)
    .where(
        variants.c.id == bindparam("variant_id"),
        variants.c.fence == bindparam("held_fence"),
        is_in(variants.c.status, Status.STORING),
    )
    .with_for_update(key_share=True)
)

_USED = select(usage.c.stored_bytes + usage.c.reserved_bytes).where(
    usage.c.connection_id == bindparam("connection_id"), usage.c.org_id == bindparam("org_id")
)

#: A queued variant begins anew.
_ANEW = {"attempts": 0, "crashes": 0}


async def page(catalog: Catalog, org_id: str, connection_id: str, status: Status, after: str, now: int) -> list[Found]:
    """The next BATCH variants of a connection in that status, in the order of their ids."""
    values = {"org_id": org_id, "connection_id": connection_id, "after": after}
    return [_found(row, now) for row in await catalog.fetch_list(_PAGES[status], values)]


async def used_bytes(catalog: Catalog, org_id: str, connection_id: str) -> int:
    """Bytes that a connection has stored or promised: what its limit is about."""
    rows = await catalog.fetch(_USED, {"org_id": org_id, "connection_id": connection_id})
    return int(rows[0][0]) if rows else 0


def enact(
    org_id: str, connection_id: str, variant_ids: Sequence[str], judge: Judge, now: int
) -> Operation[list[Enacted]]:
    """Do to some variants what the policy that holds now asks for; what somebody moved meanwhile is judged anew."""
    enacted: list[Enacted] = []
    yield from row_locks.hold(variant_ids, with_derived=True)
    held = yield from configuration.configured(org_id, connection_id)  # as it is once there is nothing to wait for
    if held is None:
        return enacted
    yield from row_locks.hold_usage_of(variant_ids)
    for ids in chunks(variant_ids):
        for row in (yield Do(_HELD, {"org_id": org_id, "connection_id": connection_id, **padded(ids)})):
            found = _found(row, now)
            effect = judge(held, found.standing)
            moved = None if effect is None else (yield from _move(found.id, effect, now))
            if effect is not None and moved is not None:
                enacted.append(Enacted(found.id, effect, found.standing.size_bytes))
                enacted += [Enacted(each.variant_id, effect, each.freed_bytes) for each in moved.along]
    return enacted


def settle(claim: Claim, stored: StoredBytes, judge: Judge, now: int) -> Operation[Effect | None]:
    """The bytes are durable: make the variant `stored`, unless the policy that holds now is against it.

    Then it is unqueued, for the reason that comes back, and its bytes belong to nobody. Raises LostRace for a stale
    fence, or when the connection is gone.
    """
    rows = yield Do(_CLAIMED, {"variant_id": claim.variant_id, "held_fence": claim.fence})
    if not rows:
        raise LostRace(f"the lease of {claim.variant_id} is no longer held")
    # Read after the row is held: a change that comes later finds this variant, or waits for it and finds it stored.
    held = yield from configuration.configured(claim.org_id, claim.connection_id)
    if held is None:
        raise LostRace(f"the connection {claim.connection_id} is gone")
    against = judge(held, _found(rows[0], now).standing)
    if against is None:
        yield from blob_rows.settle(claim, stored, now)
    else:
        yield from transitions.apply(claim.variant_id, against.event, at=now, reason=against.reason)
    return against


def _move(variant_id: str, effect: Effect, now: int) -> Operation[Moved | None]:
    columns: dict[str, Any] = {"run_at": now, **_ANEW} if effect.event is Event.QUEUED else {}
    try:
        return (yield from transitions.apply(variant_id, effect.event, at=now, reason=effect.reason, **columns))
    except LostRace:
        return None


def _found(row: Row, now: int) -> Found:
    (variant_id, media_type, label, sources, access_count, status, size_bytes, stored_at, last_accessed_at) = row[:9]
    (pinned_at, pinned_until, attempts, kept_out, decided_by) = row[9:]
    standing = Standing(
        facts=Facts(MediaType(media_type), label, [Source(source) for source in sources.split(",")], access_count),
        status=Status(status),
        size_bytes=size_bytes,
        stored_at=stored_at,
        last_accessed_at=last_accessed_at,
        pinned=pinned_at is not None and (pinned_until is None or pinned_until > now),
        given_up=status == Status.EDGE_ONLY.value and attempts > 0,
        kept_out=kept_out is not None,
        decided_by=decided_by,
    )
    return Found(variant_id, standing)
