"""The catalog's side of the store protocol: intent, then bytes, then fact; removal is the mirror.

A `writing` row is the intent of one claim. `settle` makes it `live` in the transaction that makes its variant
`stored`; where the organisation already has the same bytes, the variant refers to those and ours are doomed.
Bytes are deleted only for `doomed` rows, and the row goes after them.
"""

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, not_, null, or_, select, update

from mediavault.catalog import holds, transitions
from mediavault.catalog.holds import held
from mediavault.catalog.leases import Claim
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.references import release
from mediavault.catalog.tables import BlobState, blobs, is_in, variants
from mediavault.domain.lifecycle import Event, Status
from mediavault.errors import LostRace


@dataclass(frozen=True)
class StoredBytes:
    """What was measured of bytes that are durable now."""

    size_bytes: int
    sha256: str  #: hex
    content_type: str
    version: str  #: the version id their ETag shows


_HELD = (
    select(variants.c.id)
    .where(
        variants.c.id == bindparam("variant_id"),
        variants.c.fence == bindparam("held_fence"),
        is_in(variants.c.status, Status.STORING),
    )
    .with_for_update(key_share=True)
)
_SAME_BYTES = (
    select(blobs.c.id)
    .where(
        blobs.c.org_id == bindparam("org_id"),
        blobs.c.sha256 == bindparam("sha256"),
        blobs.c.size_bytes == bindparam("size_bytes"),
        is_in(blobs.c.state, BlobState.LIVE),
    )
    .order_by(blobs.c.id)
    .limit(1)
    .with_for_update(key_share=True)
)
_REFER = update(blobs).where(blobs.c.id == bindparam("blob_id")).values(refs=blobs.c.refs + 1)
_ENLIVEN = (
    update(blobs)
    .where(blobs.c.id == bindparam("blob_id"), blobs.c.state == BlobState.WRITING.value)
    .values(state=BlobState.LIVE.value, refs=1, sha256=bindparam("set_sha256"), size_bytes=bindparam("set_size_bytes"))
    .returning(blobs.c.id)
)
_DOOM = (
    update(blobs)
    .where(blobs.c.id == bindparam("blob_id"), blobs.c.state == BlobState.WRITING.value)
    .values(state=BlobState.DOOMED.value)
)
_DOOM_DEAD_INTENTS = (
    update(blobs)
    .where(
        is_in(blobs.c.state, BlobState.WRITING),
        blobs.c.keep_until.is_(None),  # a move's own
        not_(
            select(variants.c.id)
            .where(
                variants.c.id == blobs.c.variant_id,
                variants.c.fence == blobs.c.fence,
                is_in(variants.c.status, Status.STORING),
            )
            .exists()
        ),
    )
    .values(state=BlobState.DOOMED.value)
    .returning(blobs.c.id)
)
_OVERDUE = (
    select(variants.c.id, variants.c.retained_blob_id)
    .where(
        variants.c.retained_blob_id.is_not(None),
        variants.c.removed_at <= bindparam("before"),
        # What is fetched anew serves its old bytes until the new ones are durable, however long that takes.
        not_(is_in(variants.c.status, Status.PENDING)),
        not_(is_in(variants.c.status, Status.STORING)),
        # Nor do they go because that failed, or waits for a new URL (`superseded`).
        or_(is_in(variants.c.status, Status.REMOVED), variants.c.retained_stored_at.is_(None)),
    )
    .order_by(variants.c.removed_at)
    .limit(500)
    .with_for_update(skip_locked=True, key_share=True)
)
_FORGET_RETAINED = (
    update(variants)
    .where(
        variants.c.id == bindparam("variant_id"),
        variants.c.retained_blob_id == bindparam("retained"),
    )
    .values(retained_blob_id=null(), retained_stored_at=null())
    .returning(variants.c.id)
)
_DOOMED = (
    select(blobs.c.id, blobs.c.org_id)
    .where(is_in(blobs.c.state, BlobState.DOOMED), blobs.c.keep_until.is_(None), not_(held()))
    .order_by(blobs.c.id)
    .limit(bindparam("at_most"))
)
_FORGET = delete(blobs).where(blobs.c.id == bindparam("blob_id"), blobs.c.state == BlobState.DOOMED.value)


def settle(claim: Claim, stored: StoredBytes, now: int) -> Operation[str]:
    """The bytes are durable: make the variant `stored`. The blob it refers to. Raises LostRace for a stale fence."""
    held = yield Do(_HELD, {"variant_id": claim.variant_id, "held_fence": claim.fence})
    if not held:
        raise LostRace(f"the lease of {claim.variant_id} is no longer held")
    blob_id = claim.blob_id
    same = yield Do(_SAME_BYTES, {"org_id": claim.org_id, "sha256": stored.sha256, "size_bytes": stored.size_bytes})
    if same:
        blob_id = same[0][0]
        yield Do(_REFER, {"blob_id": blob_id})
        yield Do(_DOOM, {"blob_id": claim.blob_id})
    else:
        live = yield Do(
            _ENLIVEN,
            {"blob_id": blob_id, "set_sha256": stored.sha256, "set_size_bytes": stored.size_bytes},
        )
        if not live:
            raise LostRace(f"the intent {blob_id} was swept")
    yield from transitions.apply(
        claim.variant_id,
        Event.STORED,
        at=now,
        fence=claim.fence,
        blob_id=blob_id,
        size_bytes=stored.size_bytes,
        content_type=stored.content_type,
        version=stored.version,
        stored_at=now,
        attempts=0,
        crashes=0,
        not_before=0,
        last_error=None,
    )
    return blob_id


def doom_dead_intents() -> Operation[int]:
    """Mark the intents whose claim is over without a fact. How many."""
    rows = yield Do(_DOOM_DEAD_INTENTS)
    return len(rows)


def release_retained(removed_before: int) -> Operation[int]:
    """Let go of bytes whose undo window has passed. How many variants."""
    rows = yield Do(_OVERDUE, {"before": removed_before})
    for variant_id, blob_id in rows:
        ours = yield Do(_FORGET_RETAINED, {"variant_id": variant_id, "retained": blob_id})
        if ours:
            yield from release(blob_id)
    return len(rows)


def doomed(at_most: int, now: int = 0) -> Operation[list[tuple[str, str]]]:
    """`(blob id, organisation)` of bytes to delete; none while a backup holds them. They stay `doomed` until `forget`.

    Without `now` no hold is over.
    """
    rows = yield Do(_DOOMED, {"at_most": at_most, **holds.at(now)})
    return [(row[0], row[1]) for row in rows]


def forget(blob_id: str) -> Operation[None]:
    """The bytes are gone: drop the row."""
    yield Do(_FORGET, {"blob_id": blob_id})
