"""Damage: a blob whose bytes were found bad is quarantined, and whoever relied on it loses it in the same transaction.

Stored variants go back to waiting, to be fetched again; bytes kept for an undo are given up. The blob becomes
`quarantined`: no store settles onto it, nobody serves it, no sweep deletes it. Its row goes once the bytes were set
aside, as a doomed one goes once its bytes were deleted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import bindparam, delete, func, insert, literal, null, or_, select, update

from mediavault.catalog import row_locks, transitions
from mediavault.catalog.database import Catalog
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.padding import is_among, padded
from mediavault.catalog.references import release
from mediavault.catalog.tables import BlobState, blobs, installation, is_in, variants
from mediavault.domain.lifecycle import Event, Status
from mediavault.domain.reasons import printable


@dataclass(frozen=True, slots=True)
class LiveBlob:
    """A blob that must be there, and what it must be."""

    id: str
    org_id: str
    size_bytes: int
    sha256: str  #: hex
    #: Where it was moved to, by its row; it is the same blob wherever that is.
    place: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Damaged:
    """What a quarantine did."""

    refetched: tuple[str, ...]  #: variants that were stored and wait to be fetched again
    not_restorable: tuple[str, ...]  #: variants whose bytes were kept from before their removal

    @property
    def variant_ids(self) -> tuple[str, ...]:
        """Every variant that referred to the blob."""
        return self.refetched + self.not_restorable


_LIVE = select(blobs.c.id, blobs.c.org_id, blobs.c.size_bytes, blobs.c.sha256, blobs.c.place).where(
    is_in(blobs.c.state, BlobState.LIVE)
)
_ONE_LIVE = _LIVE.where(blobs.c.id == bindparam("blob_id"))
_PAGE = _LIVE.where(blobs.c.id > bindparam("after")).order_by(blobs.c.id).limit(bindparam("at_most"))
_TOTAL = select(func.count(), func.coalesce(func.sum(blobs.c.size_bytes), 0)).where(
    is_in(blobs.c.state, BlobState.LIVE)
)
#: Others of which some must be there, before one that is missing is believed to be lost: on both sides of it by age.
_OLDER = _LIVE.where(blobs.c.id < bindparam("blob_id")).order_by(blobs.c.id.desc()).limit(bindparam("at_most"))
_LAST = "~"  # behind every id
_YOUNGER = _LIVE.where(blobs.c.id > bindparam("blob_id")).order_by(blobs.c.id).limit(bindparam("at_most"))
_REFERRING = (
    select(variants.c.id, variants.c.status, variants.c.blob_id)
    .where(or_(variants.c.blob_id == bindparam("of_blob"), variants.c.retained_blob_id == bindparam("of_blob")))
    .order_by(variants.c.id)
    .with_for_update(key_share=True)
)
_REFERRING_IDS = select(variants.c.id).where(
    or_(variants.c.blob_id == bindparam("of_blob"), variants.c.retained_blob_id == bindparam("of_blob"))
)
_KNOWN = select(blobs.c.id, blobs.c.org_id).where(is_among(blobs.c.id))
_HOLD = _ONE_LIVE.with_for_update(key_share=True)
_GIVE_UP_RETAINED = (
    update(variants)
    .where(variants.c.id == bindparam("variant_id"), variants.c.retained_blob_id == bindparam("of_blob"))
    .values(
        retained_blob_id=null(),
        retained_stored_at=null(),
        last_error=func.coalesce(variants.c.last_error, bindparam("because")),
    )
)
_QUARANTINE = (
    update(blobs)
    .where(blobs.c.id == bindparam("blob_id"), is_in(blobs.c.state, BlobState.DOOMED))
    .values(state=literal(BlobState.QUARANTINED.value))
)
_QUARANTINED = (
    select(blobs.c.id, blobs.c.org_id)
    .where(is_in(blobs.c.state, BlobState.QUARANTINED))
    .order_by(blobs.c.id)
    .limit(200)
)
_QUARANTINE_ABANDONED = (
    update(blobs)
    .where(
        blobs.c.id == bindparam("blob_id"),
        is_in(blobs.c.state, BlobState.WRITING),
        blobs.c.keep_until <= bindparam("now"),
    )
    .values(state=literal(BlobState.QUARANTINED.value), keep_until=null())
    .returning(blobs.c.id)
)
_FORGET = delete(blobs).where(blobs.c.id == bindparam("blob_id"), is_in(blobs.c.state, BlobState.QUARANTINED))

_ROUND = "scrub"
_FIND_ROUND = select(installation.c.content).where(installation.c.name == _ROUND)
_ADD_ROUND = insert(installation).values(name=_ROUND, content=bindparam("content"))
_SET_ROUND = update(installation).where(installation.c.name == _ROUND).values(content=bindparam("set_content"))


async def live_blob(catalog: Catalog, blob_id: str) -> LiveBlob | None:
    """The blob, if it is to be relied on now."""
    rows = await catalog.fetch(_ONE_LIVE, {"blob_id": blob_id})
    return LiveBlob(*rows[0]) if rows else None


async def live_blobs(catalog: Catalog, after: str, at_most: int) -> list[LiveBlob]:
    """The live blobs behind an id, in the order of their ids."""
    return [LiveBlob(*row) for row in await catalog.fetch_list(_PAGE, {"after": after, "at_most": at_most})]


async def live_total(catalog: Catalog) -> tuple[int, int]:
    """How many live blobs there are, and their bytes."""
    ((count, size_bytes),) = await catalog.fetch_list(_TOTAL, {})
    return int(count), int(size_bytes)


async def neighbours(catalog: Catalog, blob_id: str, at_most: int) -> list[LiveBlob]:
    """Live blobs made before and after one, up to so many on each side."""
    values = {"blob_id": blob_id, "at_most": at_most}
    return [LiveBlob(*row) for side in (_OLDER, _YOUNGER) for row in await catalog.fetch_list(side, values)]


async def oldest_and_newest(catalog: Catalog) -> list[LiveBlob]:
    """The live blobs of the first and of the last announcement; fewer where there are fewer."""
    oldest = await catalog.fetch(_PAGE, {"after": "", "at_most": 1})
    newest = await catalog.fetch(_OLDER, {"blob_id": _LAST, "at_most": 1})
    return [LiveBlob(*row) for row in {tuple(row) for row in (*oldest, *newest)}]


async def referring(catalog: Catalog, blob_id: str) -> list[str]:
    """The variants that refer to a blob now."""
    return [row[0] for row in await catalog.fetch_list(_REFERRING_IDS, {"of_blob": blob_id})]


async def known_keys(catalog: Catalog, blob_ids: Sequence[str]) -> dict[str, str]:
    """The organisations of those ids, up to a hundred, that are blobs in whatever state."""
    rows = await catalog.fetch_list(_KNOWN, padded(blob_ids))
    return {row[0]: row[1] for row in rows}


def quarantine(blob_id: str, reason: str, now: int) -> Operation[Damaged | None]:
    """Take a live blob from everybody who refers to it; None where it is not live: then somebody was first.

    Variants are locked before the blob, as everywhere. A store that settled onto the blob in between is found by the
    second look: from then on the blob is held, and whoever dedupes waits, and does not find it.
    """
    told = printable(reason)
    yield from row_locks.hold([row[0] for row in (yield Do(_REFERRING, {"of_blob": blob_id}))])
    if not (yield Do(_HOLD, {"blob_id": blob_id})):
        return None
    refetched: list[str] = []
    given_up: list[str] = []
    referring = yield Do(_REFERRING, {"of_blob": blob_id})
    yield from row_locks.hold_usage_of([row[0] for row in referring])
    for variant_id, status, held_blob_id in referring:
        if status == Status.STORED.value and held_blob_id == blob_id:
            yield from transitions.apply(
                variant_id, Event.DAMAGED, at=now, reason=told, run_at=now, attempts=0, crashes=0, last_error=told
            )
            refetched.append(variant_id)
        else:
            yield Do(_GIVE_UP_RETAINED, {"variant_id": variant_id, "of_blob": blob_id, "because": told})
            yield from release(blob_id)
            given_up.append(variant_id)
    yield Do(_QUARANTINE, {"blob_id": blob_id})
    return Damaged(tuple(refetched), tuple(given_up))


def quarantine_abandoned(blob_id: str, now: int) -> Operation[bool]:
    """Let nobody go on with the copy of a move that died; whether there was one, whose bytes are to be set aside."""
    return bool((yield Do(_QUARANTINE_ABANDONED, {"blob_id": blob_id, "now": now})))


def quarantined() -> Operation[list[tuple[str, str]]]:
    """`(blob id, organisation)` of bytes to set aside. They stay `quarantined` until `forget`."""
    rows = yield Do(_QUARANTINED)
    return [(row[0], row[1]) for row in rows]


def forget(blob_id: str) -> Operation[None]:
    """The bytes were set aside: drop the row."""
    yield Do(_FORGET, {"blob_id": blob_id})


async def find_round(catalog: Catalog) -> bytes | None:
    """What the scrub remembers of its round."""
    rows = await catalog.fetch(_FIND_ROUND, {})
    return bytes(rows[0][0]) if rows else None


def remember_round(content: bytes) -> Operation[None]:
    """Remember the round over a restart."""
    if (yield Do(_FIND_ROUND)):
        yield Do(_SET_ROUND, {"set_content": content})
    else:
        yield Do(_ADD_ROUND, {"content": content})
