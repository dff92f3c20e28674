"""Claims: which variant a storer works on next, and for how long it may.

A claim is the transition CLAIMED and a `blobs` row `writing`, in one transaction: the intent is durable before the
first byte is. The fence of the claim guards everything the storer reports later.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, insert, or_, select, update

from mediavault.catalog import row_locks, transitions
from mediavault.catalog.identifiers import new_id
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.tables import BlobState, blobs, connections, is_in, variants
from mediavault.catalog.transitions import Moved
from mediavault.domain.lifecycle import Event, Status
from mediavault.domain.reasons import printable
from mediavault.errors import LostRace

#: How often a store may die with its process before the variant is taken for the cause.
CRASHES_BEFORE_GIVING_UP = 5


@dataclass(frozen=True)
class Claim:
    """A variant this storer holds the lease of."""

    variant_id: str
    org_id: str
    connection_id: str
    fence: int
    blob_id: str
    attempts: int  #: finished tries before this one


#: How often a claim looks again for a connection when another claimer or a removal was quicker at the one it chose.
_LOOKS = 3

_storing = variants.alias("storing")
_HAS_ROOM = (
    select(func.count())
    .where(_storing.c.connection_id == connections.c.id, is_in(_storing.c.status, Status.STORING))
    .scalar_subquery()
    < connections.c.max_inflight
)
_DUE = (is_in(variants.c.status, Status.PENDING), variants.c.run_at <= bindparam("now"))
# FOR NO KEY UPDATE: observers insert media under these connections meanwhile, and neither waits for the other.
_NEXT_CONNECTION = (
    select(connections.c.id)
    .where(
        connections.c.disconnected_at.is_(None),
        connections.c.paused_until <= bindparam("now"),
        select(variants.c.id).where(variants.c.connection_id == connections.c.id, *_DUE).exists(),
        _HAS_ROOM,
    )
    .order_by(connections.c.served_at, connections.c.id)
    .limit(1)
    .with_for_update(skip_locked=True, key_share=True)
)
# Asks for room once more: a claim that was committed while the connection was being chosen was not seen by its count.
_NEXT_VARIANT = (
    select(variants.c.id, variants.c.attempts)
    .where(
        variants.c.connection_id == bindparam("connection_id"),
        *_DUE,
        select(connections.c.id).where(connections.c.id == bindparam("connection_id"), _HAS_ROOM).exists(),
    )
    .order_by(variants.c.origin_expires_at, variants.c.id)
    .limit(1)
    .with_for_update(skip_locked=True, key_share=True)
)
_SERVED = update(connections).where(connections.c.id == bindparam("connection_id")).values(served_at=bindparam("now"))
#: Columns of a blob that its claim says nothing of.
_LATER = {"refs", "size_bytes", "sha256", "place", "keep_until"}
_INTEND = insert(blobs).values(
    {column: bindparam(column.name) for column in blobs.c if column.name not in _LATER}
    | {blobs.c.refs: 0, blobs.c.size_bytes: 0}
)
_RENEW = (
    update(variants)
    .where(
        variants.c.id == bindparam("variant_id"),
        variants.c.fence == bindparam("held_fence"),
        is_in(variants.c.status, Status.STORING),
    )
    .values(lease_expires_at=bindparam("until"))
    .returning(variants.c.id)
)
_HELD = (
    select(variants.c.origin_key)
    .where(
        variants.c.id == bindparam("variant_id"),
        variants.c.fence == bindparam("held_fence"),
        is_in(variants.c.status, Status.STORING),
    )
    .with_for_update(key_share=True)
)
_DEAD = (
    select(variants.c.id, variants.c.fence, variants.c.crashes, variants.c.attempts)
    .where(
        is_in(variants.c.status, Status.STORING),
        or_(variants.c.lease_expires_at <= bindparam("now"), variants.c.lease_holder == bindparam("holder")),
    )
    .limit(1000)
    .with_for_update(skip_locked=True, key_share=True)
)


def claim(holder: str, lease_ms: int, now: int) -> Operation[Claim | None]:
    """Take the next variant: the least recently served connection under its cap, earliest origin expiry first."""
    found = yield from _next(now)
    if found is None:
        return None
    connection_id, variant_id, attempts = found
    moved = yield from transitions.apply(
        variant_id, Event.CLAIMED, at=now, lease_holder=holder, lease_expires_at=now + lease_ms
    )
    yield Do(_SERVED, {"connection_id": connection_id, "now": now})
    blob_id = yield from intend(moved, now)
    return Claim(variant_id, moved.org_id, connection_id, moved.fence, blob_id, attempts)


def intend(claimed: Moved, now: int) -> Operation[str]:
    """The intent to write a blob for a variant that was claimed in this transaction: the blob's id."""
    blob_id = new_id(now)
    values = {"id": blob_id, "org_id": claimed.org_id, "state": BlobState.WRITING.value, "created_at": now}
    yield Do(_INTEND, {**values, "variant_id": claimed.variant_id, "fence": claimed.fence})
    return blob_id


def _next(now: int) -> Operation[tuple[str, str, int] | None]:
    """`(connection, variant, attempts)` to claim, both locked."""
    for _ in range(_LOOKS):
        chosen = yield Do(_NEXT_CONNECTION, {"now": now})
        if not chosen:
            return None
        connection_id = chosen[0][0]
        rows = yield Do(_NEXT_VARIANT, {"connection_id": connection_id, "now": now})
        if rows:
            return connection_id, *rows[0]
    return None


def renew(claim: Claim, until: int) -> Operation[None]:
    """Hold the lease until then (Unix ms). Raises LostRace when it is no longer ours."""
    rows = yield Do(_RENEW, {"variant_id": claim.variant_id, "held_fence": claim.fence, "until": until})
    if not rows:
        raise LostRace(f"the lease of {claim.variant_id} is no longer held")


@dataclass(frozen=True)
class Failure:
    """Why a store ended without its fact, and what follows from it."""

    event: Event  #: RELEASED for another try, or GIVEN_UP
    reason: str
    tried_key: str | None  #: of the origin URL it was tried under; None where no URL was to blame
    attempts: int  #: finished tries with this one
    run_at: int | None = None  #: when it is tried again
    not_before: int | None = None  #: until when viewers do not ask the origin


def fail(claim: Claim, failure: Failure, now: int) -> Operation[None]:
    """End a claim with a failure; one of an old URL costs nothing once a new one was seen. Raises LostRace."""
    held = yield Do(_HELD, {"variant_id": claim.variant_id, "held_fence": claim.fence})
    if not held:
        raise LostRace(f"the lease of {claim.variant_id} is no longer held")
    reason = printable(failure.reason)
    if failure.tried_key is not None and held[0][0] != failure.tried_key:
        columns: dict[str, Any] = {"run_at": now}
        event = Event.RELEASED
    else:
        given = {"run_at": failure.run_at, "not_before": failure.not_before}
        event = failure.event
        columns = {name: value for name, value in given.items() if value is not None}
        columns |= {"attempts": failure.attempts, "last_error": reason}
    yield from transitions.apply(claim.variant_id, event, at=now, fence=claim.fence, reason=reason, **columns)


def reclaim(now: int, dead_holder: str | None = None) -> Operation[int]:
    """Put back what dead storers held: leases that ran out, and those of a holder known to be dead. How many.

    A crash costs no attempt, but a variant that outlives too many storers is taken for the poison.
    """
    rows = yield Do(_DEAD, {"now": now, "holder": dead_holder or ""})
    yield from row_locks.hold([row[0] for row in rows])
    yield from row_locks.hold_usage_of([row[0] for row in rows])
    for variant_id, fence, crashes, attempts in rows:
        died = {"at": now, "fence": fence, "crashes": crashes + 1}
        if crashes + 1 < CRASHES_BEFORE_GIVING_UP:
            yield from transitions.apply(variant_id, Event.RELEASED, reason="its storer died", run_at=now, **died)
        else:
            reason = f"its storer died {crashes + 1} times"
            yield from transitions.apply(
                variant_id, Event.GIVEN_UP, reason=reason, last_error=reason, attempts=attempts + 1, **died
            )
    return len(rows)
