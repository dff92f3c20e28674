"""Damage: what is done when stored bytes are found missing or bad, whoever found them.

The finding is checked again, so that nothing is taken for damage that only was in motion; then the blob is quarantined,
its variants wait to be fetched again, and its bytes are set aside: never served again, never deleted.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mediavault.blobs.store import BlobStore, blob_key
from mediavault.catalog import damage
from mediavault.catalog.damage import Damaged, LiveBlob
from mediavault.catalog.database import Catalog
from mediavault.domain.reasons import printable
from mediavault.domain.times import Now
from mediavault.edge.cache import EdgeCache
from mediavault.errors import BlobCorrupt, BlobNotFound, BlobUnavailable, NotFound
from mediavault.telemetry import Events, logger

_SLICE_BYTES = 1 << 20
#: A missing blob is believed to be lost only where most of so many others, older and younger, are there.
_WITNESSES = 4


@dataclass(frozen=True)
class Damaging:
    """Quarantines damaged blobs. `wake` tells the storer of this process that there is work."""

    catalog: Catalog
    blobs: BlobStore
    edge: EdgeCache | None  #: None where this process has none to serve from
    wake: Callable[[], None]
    now: Now

    async def suspect(self, blob_id: str | None, found: str) -> Damaged | None:
        """A reader was told of a missing or bad blob: quarantine it if that is so. None where it is not.

        Raises BlobUnavailable where the whole store seems to be away: then nothing is lost, and nothing is touched.
        """
        blob = None if blob_id is None else await damage.live_blob(self.catalog, blob_id)
        if blob is None:
            return None
        try:
            self._require_file(blob)
        except BlobNotFound:
            await self.require_store(blob)
        except BlobCorrupt:
            pass
        else:
            return None
        return await self.quarantine(blob, found)

    async def examine(self, blob_id: str) -> bool:
        """Read a blob that somebody found bad, and quarantine it if it is: whether it was.

        Raises NotFound where it is not live, BlobUnavailable where it cannot be read or the store is away.
        """
        blob = await damage.live_blob(self.catalog, blob_id)
        if blob is None:
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
        await self.set_aside()
        self.wake()
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

    def _require_file(self, blob: LiveBlob) -> None:
        """Raise BlobNotFound or BlobCorrupt unless the blob's file is there in its size."""
        file = self.blobs.open_file(blob_key(blob.org_id, blob.id))
        if file is None:
            return  # the store has no files here: the scrub and `verify` read it
        file.close()
        if file.size_bytes != blob.size_bytes:
            raise BlobCorrupt(f"{file.size_bytes} bytes instead of {blob.size_bytes}")

    async def require_store(self, blob: LiveBlob) -> None:
        """Raise BlobUnavailable unless a missing blob is one that is lost: an unmounted disk looks as if all were."""
        others = await damage.neighbours(self.catalog, blob.id, _WITNESSES)
        present = [other for other in others if await self._is_there(other)]
        if others and len(present) * 2 < len(others):
            raise BlobUnavailable(
                f"{len(others) - len(present)} of {len(others)} other blobs are missing too: is the blob store mounted?"
            )

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
        try:
            with self.edge.reading(copy) as path:
                is_good = _digest_of_path(path) == (copy.size_bytes, copy.sha256)
        except OSError:
            is_good = False
        if not is_good:
            self.edge.drop(variant_id)


def difference(blob: LiveBlob, size_bytes: int, sha256: str) -> str | None:
    """How measured bytes differ from what the blob must be; None when they do not."""
    if size_bytes != blob.size_bytes:
        return f"{size_bytes} bytes instead of {blob.size_bytes}"
    return None if sha256 == blob.sha256 else "another digest than when it was stored"


def _digest_of_path(path: Path) -> tuple[int, str]:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return digest_of(fd)
    finally:
        os.close(fd)


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
