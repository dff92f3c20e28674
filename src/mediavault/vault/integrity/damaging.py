"""Damage: what is done when stored bytes are found missing or bad, whoever found them.

The finding is checked again, so that nothing is taken for damage that only was in motion; then the blob is quarantined,
its variants wait to be fetched again, and its bytes are set aside: never served again, never deleted.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from mediavault.blobs.store import BlobKey, BlobStore, blob_key
from mediavault.catalog import damage
from mediavault.catalog.damage import Damaged, LiveBlob
from mediavault.catalog.database import Catalog
from mediavault.domain.reasons import printable
from mediavault.domain.times import MINUTE, Now
from mediavault.edge.cache import EdgeCache
from mediavault.edge.digests import is_intact
from mediavault.errors import BlobCorrupt, BlobError, BlobNotFound, BlobsAway, BlobUnavailable, NotFound
from mediavault.telemetry import Events, logger

_SLICE_BYTES = 1 << 20
#: A missing blob is believed to be lost only where most of so many others, older and younger, are there.
_WITNESSES = 4
#: What is away is one line a minute for each place, and of so many places at most.
_TOLD_EVERY_MS = MINUTE
_MOST_TOLD = 100
_WHAT_TO_DO = (
    "mount the disk of the blobs, or name their place: MEDIAVAULT_BLOBS_URL, and MEDIAVAULT_BLOBS_PREVIOUS_URL where "
    "some lie elsewhere; `mediavault blobs check` tries both"
)


@dataclass(frozen=True)
class Damaging:
    """Quarantines damaged blobs. `wake` tells the storer of this process that there is work."""

    catalog: Catalog
    blobs: BlobStore
    edge: EdgeCache | None  #: None where this process has none to serve from
    wake: Callable[[], None]
    now: Now
    #: The URLs of the places that this process reads from. What a row says to lie elsewhere is never taken for lost.
    places: frozenset[str] = frozenset()
    _told_at: dict[str, int] = field(default_factory=dict)

    async def suspect(self, blob_id: str | None, found: str) -> Damaged | None:
        """A reader was told of a missing or bad blob: quarantine it if that is so. None where it is not.

        Raises BlobUnavailable where the whole store seems to be away: then nothing is lost, and nothing is touched.
        """
        blob = None if blob_id is None else await damage.live_blob(self.catalog, blob_id)
        if blob is None:
            return None
        try:
            await self._require_bytes(blob)
        except BlobNotFound:
            await self.require_store(blob)
        except BlobCorrupt:
            pass
        else:
            return None
        return await self.quarantine(blob, found)

    async def examine(self, blob_id: str) -> bool:
        """Read a blob that somebody found bad, and quarantine it if it is: whether it was.

        Also what a dead move left. Raises NotFound where it is neither, BlobUnavailable where it cannot be read or the
        store is away.
        """
        blob = await damage.live_blob(self.catalog, blob_id)
        if blob is None:
            if await self.catalog.run(damage.quarantine_abandoned, blob_id, self.now()):
                await self.set_aside()
                return True
            raise NotFound(f"there is no blob {printable(blob_id)!r} that is relied on")
        found = await self.fault(blob)
        return found is not None and await self.quarantine(blob, found) is not None

    async def fault(self, blob: LiveBlob) -> str | None:
        """What is wrong with a blob, read whole; None when nothing is. Raises BlobUnavailable."""
        try:
            measured = await self.blobs.measure(blob_key(blob.org_id, blob.id))
        except BlobNotFound:
            await self.require_store(blob)
            return "missing"
        except BlobCorrupt as error:
            return str(error)
        return difference(blob, measured.size_bytes, measured.sha256)

    async def quarantine(self, blob: LiveBlob, found: str) -> Damaged | None:
        """Take a blob that is known to be bad from everybody, and set its bytes aside. None if somebody was first."""
        reason = f"its stored bytes were found damaged: {found}"
        before = await damage.referring(self.catalog, blob.id)
        await self._check_edges(before)  # now: from the transaction on, viewers are given the edge's copy
        done = await self.catalog.run(damage.quarantine, blob.id, reason, self.now())
        if done is None:
            return None
        logger().error(
            Events.BLOB_DAMAGED,
            blob_id=blob.id,
            found=found,
            refetched=list(done.refetched),
            not_restorable=list(done.not_restorable),
        )
        await self._check_edges([variant_id for variant_id in done.variant_ids if variant_id not in before])
        self.wake()
        try:
            await self.set_aside()
        except BlobError:  # nobody is given these bytes any more; the scrub's next look sets them aside
            logger().exception(Events.WORKER_FAILED, worker="quarantine")
        return done

    async def set_aside(self) -> int:
        """Set the bytes of quarantined blobs aside, then drop their rows; a crash between the two repeats it."""
        done = 0
        while pending := await self.catalog.run(damage.quarantined):
            for blob_id, org_id in pending:
                await self.blobs.set_aside(blob_key(org_id, blob_id))
                await self.catalog.run(damage.forget, blob_id)
                done += 1
        return done

    async def _require_bytes(self, blob: LiveBlob) -> None:
        """Raise BlobNotFound or BlobCorrupt unless the blob is there in its size, told by its file or its last byte."""
        key = blob_key(blob.org_id, blob.id)
        file = self.blobs.open_file(key)
        size_bytes = await self._size_elsewhere(key, blob.size_bytes) if file is None else file.size_bytes
        if file is not None:
            file.close()
        if size_bytes != blob.size_bytes:
            raise BlobCorrupt(f"{size_bytes} bytes instead of {blob.size_bytes}")

    async def _size_elsewhere(self, key: BlobKey, expected: int) -> int:
        """The size of a blob that is no file here, as far as one request tells: too short, right, or longer."""
        first, taken = max(0, expected - 1), 0
        async with aclosing(self.blobs.read(key, first, 2)) as chunks:
            async for chunk in chunks:
                taken += len(chunk)
        return first + taken

    async def require_store(self, blob: LiveBlob) -> None:
        """Raise BlobsAway unless a missing blob is one that is lost: an unmounted disk looks as if all were."""
        if blob.place is not None and blob.place not in self.places:
            reason = f"blobs were moved to {blob.place}, and this vault does not read from there"
            raise self._away(blob.place, reason)
        others = await damage.neighbours(self.catalog, blob.id, _WITNESSES)
        present = [other for other in others if await self._is_there(other)]
        if others and len(present) * 2 < len(others):
            missing = f"{len(others) - len(present)} of {len(others)} other blobs are missing too"
            raise self._away("", f"{missing}: is the blob store mounted?")

    async def require_places(self) -> None:
        """Raise BlobsAway where the oldest and the newest blob are both missing, or where one lies that is not read."""
        ends = await damage.oldest_and_newest(self.catalog)
        missing = [blob for blob in ends if not await self._is_there(blob)]
        for blob in missing:
            if blob.place is not None or len(missing) > 1:
                await self.require_store(blob)

    def tell(self, error: Exception) -> None:
        """Say that a viewer was turned away because stored bytes cannot be had now: one line a minute."""
        if isinstance(error, BlobUnavailable) and not isinstance(error, BlobsAway):  # those were told when found
            self._away("unavailable", str(error))

    def _away(self, place: str, reason: str) -> BlobsAway:
        now = self.now()
        if now - self._told_at.get(place, -_TOLD_EVERY_MS) >= _TOLD_EVERY_MS:
            if len(self._told_at) >= _MOST_TOLD:
                self._told_at.clear()
            self._told_at[place] = now
            logger().error(Events.BLOBS_AWAY, reason=reason, places=sorted(self.places), what_to_do=_WHAT_TO_DO)
        return BlobsAway(reason)

    async def _is_there(self, blob: LiveBlob) -> bool:
        reading = self.blobs.read(blob_key(blob.org_id, blob.id), 0, 1)
        try:
            async for _ in reading:
                break
        except BlobNotFound:
            return False
        except BlobCorrupt:
            return True
        finally:
            await reading.aclose()
        return True

    async def _check_edges(self, variant_ids: Sequence[str]) -> None:
        for variant_id in variant_ids:
            await asyncio.to_thread(self._check_edge, variant_id)

    def _check_edge(self, variant_id: str) -> None:
        """An edge copy may be the same file under another name: keep it only where its digest is right."""
        copy = None if self.edge is None else self.edge.peek(variant_id)
        if self.edge is None or copy is None:
            return
        with self.edge.reading(copy) as path:
            if not is_intact(path, copy):
                self.edge.drop(variant_id)


def difference(blob: LiveBlob, size_bytes: int, sha256: str) -> str | None:
    """How measured bytes differ from what the blob must be; None when they do not."""
    if size_bytes != blob.size_bytes:
        return f"{size_bytes} bytes instead of {blob.size_bytes}"
    return None if sha256 == blob.sha256 else "another digest than when it was stored"


def digest_of(fd: int) -> tuple[int, str]:
    """Size and sha256 (hex) of a whole open file, read once from its beginning. Blocks; raises OSError."""
    buffer = memoryview(bytearray(_SLICE_BYTES))
    digest, position = hashlib.sha256(), 0
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    while taken := os.preadv(fd, [buffer], position):
        digest.update(buffer[:taken])
        position += taken
    return position, digest.hexdigest()
