"""The catalog's side of moving blobs between stores: a move is a store protocol of its own.

Nothing is copied under a key that was there before: the copy gets a row `writing` and so a key of its own, then one
transaction makes it `live`, lets every variant refer to it, and dooms the old row. Readers who found the old key still
may read it until `keep_until`; then the sweep deletes its bytes as it deletes any others.

What a killed move leaves is an intent whose `keep_until` passes. A blob that is where it should be says so in `place`.
"""

from dataclasses import dataclass

from sqlalchemy import bindparam, func, insert, null, or_, select, update

from mediavault.catalog.database import Catalog
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.tables import BlobState, blobs, is_in, variants
from mediavault.errors import LostRace


@dataclass(frozen=True)
class Movable:
    """A blob that is not known to be in the place where it should be."""

    id: str
    org_id: str
    sha256: str  #: hex
    size_bytes: int


_ELSEWHERE = (is_in(blobs.c.state, BlobState.LIVE), or_(blobs.c.place.is_(None), blobs.c.place != bindparam("to")))
_MOVABLE = (
    select(blobs.c.id, blobs.c.org_id, blobs.c.sha256, blobs.c.size_bytes)
    .where(*_ELSEWHERE, blobs.c.id > bindparam("after"))
    .order_by(blobs.c.id)
    .limit(bindparam("at_most"))
)
_LEFT = select(func.count(), func.coalesce(func.sum(blobs.c.size_bytes), 0)).where(*_ELSEWHERE)
_KEPT = select(func.count()).where(is_in(blobs.c.state, BlobState.DOOMED))
_SAY_PLACE = (
    update(blobs)
    .where(blobs.c.id == bindparam("blob_id"), is_in(blobs.c.state, BlobState.LIVE))
    .values(place=bindparam("to"))
)
_SOURCE = select(blobs.c.variant_id, blobs.c.fence).where(
    blobs.c.id == bindparam("blob_id"), is_in(blobs.c.state, BlobState.LIVE)
)
_INTEND = insert(blobs).values(
    {column: bindparam(column.name) for column in blobs.c if column.name not in {"refs", "size_bytes", "sha256"}}
    | {blobs.c.refs: 0, blobs.c.size_bytes: 0}
)
_OURS = (blobs.c.id == bindparam("blob_id"), blobs.c.state == BlobState.WRITING.value, blobs.c.keep_until.is_not(None))
_RENEW = update(blobs).where(*_OURS).values(keep_until=bindparam("until")).returning(blobs.c.id)
_REFERRING = (
    select(variants.c.id)
    .where(or_(variants.c.blob_id == bindparam("old_id"), variants.c.retained_blob_id == bindparam("old_id")))
    .order_by(variants.c.id)
    .with_for_update(key_share=True)
)
_OLD = (
    select(blobs.c.refs)
    .where(blobs.c.id == bindparam("old_id"), is_in(blobs.c.state, BlobState.LIVE))
    .with_for_update(key_share=True)
)
_ENLIVEN = (
    update(blobs)
    .where(*_OURS)
    .values(
        state=BlobState.LIVE.value,
        refs=bindparam("set_refs"),
        sha256=bindparam("set_sha256"),
        size_bytes=bindparam("set_size_bytes"),
        keep_until=null(),
    )
    .returning(blobs.c.id)
)
_REFER = update(variants).where(variants.c.blob_id == bindparam("old_id")).values(blob_id=bindparam("new_id"))
_REFER_RETAINED = (
    update(variants)
    .where(variants.c.retained_blob_id == bindparam("old_id"))
    .values(retained_blob_id=bindparam("new_id"))
)
_LEAVE = (
    update(blobs)
    .where(blobs.c.id == bindparam("old_id"))
    .values(state=BlobState.DOOMED.value, refs=0, keep_until=bindparam("until"))
)
_ABANDON = update(blobs).where(*_OURS).values(state=BlobState.DOOMED.value, keep_until=null())
_EXPIRE = (
    update(blobs)
    .where(blobs.c.keep_until.is_not(None), blobs.c.keep_until <= bindparam("now"))
    .values(keep_until=null())
    .returning(blobs.c.id)
)


async def movable(catalog: Catalog, to: str, after: str, at_most: int) -> list[Movable]:
    """The next blobs, by id, that are not known to be at `to`."""
    rows = await catalog.fetch(_MOVABLE, {"to": to, "after": after, "at_most": at_most})
    return [Movable(*row) for row in rows]


async def left(catalog: Catalog, to: str) -> tuple[int, int]:
    """How many blobs are not known to be at `to`, and their bytes."""
    ((count, size_bytes),) = await catalog.fetch_list(_LEFT, {"to": to})
    return int(count), int(size_bytes)


async def kept(catalog: Catalog) -> int:
    """How many rows wait for a sweep to delete their bytes."""
    ((count,),) = await catalog.fetch_list(_KEPT, {})
    return int(count)


def say_place(blob_id: str, to: str) -> Operation[None]:
    """It was found where it should be."""
    yield Do(_SAY_PLACE, {"blob_id": blob_id, "to": to})


def intend(blob: Movable, new_id: str, to: str, keep_until: int, now: int) -> Operation[None]:
    """A copy is about to be written under a key of its own. Raises LostRace when the blob is nobody's any more."""
    source = yield Do(_SOURCE, {"blob_id": blob.id})
    if not source:
        raise LostRace(f"nobody refers to the blob {blob.id} any more")
    variant_id, fence = source[0]
    yield Do(
        _INTEND,
        {
            "id": new_id,
            "org_id": blob.org_id,
            "state": BlobState.WRITING.value,
            "variant_id": variant_id,
            "fence": fence,
            "created_at": now,
            "place": to,
            "keep_until": keep_until,
        },
    )


def renew(new_id: str, keep_until: int) -> Operation[None]:
    """The copy is still being written. Raises LostRace when a sweep took it for dead."""
    rows = yield Do(_RENEW, {"blob_id": new_id, "until": keep_until})
    if not rows:
        raise LostRace(f"the intent {new_id} was swept")


def settle(blob: Movable, new_id: str, leave_until: int) -> Operation[None]:
    """The copy is durable: whoever referred to the old one refers to it. Raises LostRace.

    Variants before blobs, as everybody locks them; who began to refer to it in between is seen by the count.
    """
    referring = yield Do(_REFERRING, {"old_id": blob.id})
    old = yield Do(_OLD, {"old_id": blob.id})
    if not old or old[0][0] != len(referring):
        raise LostRace(f"the blob {blob.id} changed while it was copied")
    live = yield Do(
        _ENLIVEN,
        {
            "blob_id": new_id,
            "set_refs": len(referring),
            "set_sha256": blob.sha256,
            "set_size_bytes": blob.size_bytes,
        },
    )
    if not live:
        raise LostRace(f"the intent {new_id} was swept")
    yield Do(_REFER, {"old_id": blob.id, "new_id": new_id})
    yield Do(_REFER_RETAINED, {"old_id": blob.id, "new_id": new_id})
    yield Do(_LEAVE, {"old_id": blob.id, "until": leave_until})


def abandon(new_id: str) -> Operation[None]:
    """The copy will not be used: a sweep deletes what there is of it."""
    yield Do(_ABANDON, {"blob_id": new_id})


def expire(now: int) -> Operation[int]:
    """Leave to the sweeps what killed moves and finished ones wanted kept until now. How many rows."""
    rows = yield Do(_EXPIRE, {"now": now})
    return len(rows)
