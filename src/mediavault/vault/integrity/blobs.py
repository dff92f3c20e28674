"""The stored bytes against their rows: every blob there, in its size, and (deep) with its digest.

Several threads read and hash, a blob each: reading waits for the disk and hashing lets other threads run, so that the
slower of the two sets the speed. A page of rows and a slice a thread are all that is held.
"""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field

from mediavault.blobs.store import BlobStore, blob_key
from mediavault.catalog import damage
from mediavault.catalog.damage import LiveBlob
from mediavault.catalog.database import Catalog
from mediavault.domain.findings import in_subset
from mediavault.errors import BlobCorrupt, BlobError, BlobNotFound
from mediavault.vault.integrity.damaging import difference, digest_of

_PAGE = 1000
#: Blobs looked at in one visit to a thread, where only their sizes are wanted.
_SIZES_AT_ONCE = 100
_THREADS = max(2, min(8, os.cpu_count() or 2))

#: `(code, text)` of what is wrong with a blob.
Fault = tuple[str, str]
MISSING: Fault = ("blob_missing", "its bytes are missing")
_ELSEWHERE: Fault = ("", "it is no file here")


@dataclass(frozen=True)
class Subset:
    """Part 1 to `parts` of the blobs."""

    part: int = 1
    parts: int = 1


@dataclass
class Looked:
    """What was looked at, and what was wrong with it."""

    blobs: int = 0
    bytes: int = 0
    faults: dict[LiveBlob, Fault] = field(default_factory=dict)


class BlobLook:
    """Looks at blobs, whole or only at their sizes."""

    def __init__(self, catalog: Catalog, blobs: BlobStore, *, deep: bool) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._deep = deep
        self._at_once = asyncio.Semaphore(_THREADS)

    async def all(self, subset: Subset, looked: Looked, most_faults: int) -> None:
        """Look at every live blob of the subset, adding to `looked` as it goes on."""
        after = ""
        with ThreadPoolExecutor(_THREADS, "verify") as threads:
            while page := await damage.live_blobs(self._catalog, after, _PAGE):
                after = page[-1].id
                mine = [blob for blob in page if in_subset(blob.id, subset.part, subset.parts)]
                size = 1 if self._deep else _SIZES_AT_ONCE
                groups = [mine[start : start + size] for start in range(0, len(mine), size)]
                for blob, fault in await self._groups(groups, threads):
                    if len(looked.faults) < most_faults:
                        looked.faults[blob] = fault
                looked.blobs += len(mine)
                looked.bytes += sum(blob.size_bytes for blob in mine)

    async def one(self, blob: LiveBlob) -> Fault | None:
        """What is wrong with a blob; None when nothing is, or it is relied on no longer."""
        if await damage.live_blob(self._catalog, blob.id) != blob:
            return None
        fault = await self._fault(blob)
        return fault if await damage.live_blob(self._catalog, blob.id) == blob else None

    async def _groups(
        self, groups: Sequence[Sequence[LiveBlob]], threads: ThreadPoolExecutor
    ) -> list[tuple[LiveBlob, Fault]]:
        loop = asyncio.get_running_loop()
        found = await asyncio.gather(*(loop.run_in_executor(threads, self._faults, group) for group in groups))
        elsewhere = [blob for group in found for blob, fault in group if fault is None]
        remote = await asyncio.gather(*map(self._limited, elsewhere))
        here = [(blob, fault) for group in found for blob, fault in group if fault is not None]
        return here + [(blob, fault) for blob, fault in zip(elsewhere, remote, strict=True) if fault is not None]

    def _faults(self, group: Sequence[LiveBlob]) -> list[tuple[LiveBlob, Fault | None]]:
        """What is wrong, in a thread; None beside those that have no file here."""
        looked = [(blob, self._fault_of_file(blob)) for blob in group]
        return [(blob, None if fault is _ELSEWHERE else fault) for blob, fault in looked if fault is not None]

    async def _fault(self, blob: LiveBlob) -> Fault | None:
        fault = await asyncio.to_thread(self._fault_of_file, blob)
        return await self._limited(blob) if fault is _ELSEWHERE else fault

    async def _limited(self, blob: LiveBlob) -> Fault | None:
        async with self._at_once:
            return await self._fault_elsewhere(blob)

    async def _fault_elsewhere(self, blob: LiveBlob) -> Fault | None:
        """A blob that is no file here. Its last byte, and none behind it, tell its size."""
        key, first = blob_key(blob.org_id, blob.id), max(0, blob.size_bytes - 1)
        try:
            if self._deep:
                measured = await self._blobs.measure(key)
                wrong = difference(blob, measured.size_bytes, measured.sha256)
                return None if wrong is None else ("blob_digest", f"it has {wrong}")
            taken = 0
            async with aclosing(self._blobs.read(key, first, 2)) as chunks:
                async for chunk in chunks:
                    taken += len(chunk)
        except BlobNotFound:
            return MISSING
        except BlobError as error:
            return "blob_unreadable", f"its bytes cannot be read: {error}"
        return None if first + taken == blob.size_bytes else ("blob_size", f"it has not its {blob.size_bytes} bytes")

    def _fault_of_file(self, blob: LiveBlob) -> Fault | None:
        try:
            file = self._blobs.open_file(blob_key(blob.org_id, blob.id))
        except BlobNotFound:
            return MISSING
        except BlobCorrupt as error:
            return "blob_no_file", f"where its bytes should be is something else: {error}"
        except BlobError as error:
            return "blob_unreadable", f"its bytes cannot be read: {error}"
        if file is None:
            return _ELSEWHERE
        try:
            if file.size_bytes != blob.size_bytes:
                return "blob_size", f"it has {file.size_bytes} bytes instead of {blob.size_bytes}"
            wrong = difference(blob, *digest_of(file.fd)) if self._deep else None
        except OSError as error:
            return "blob_unreadable", f"its bytes cannot be read: {error.strerror}"
        finally:
            file.close()
        return None if wrong is None else ("blob_digest", f"it has {wrong}")
