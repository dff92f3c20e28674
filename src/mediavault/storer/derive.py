"""Derived thumbnails: one claimed thumbnail is made and stored, and the ones that are lacking are found.

The protocol is that of every store: intent, bytes, fact. Only where the bytes come from is another: from what is
stored of the media item, through a process that may do next to nothing.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import IO

from mediavault.blobs.store import BlobStore, blob_key
from mediavault.catalog import derivations, limits
from mediavault.catalog.blob_rows import StoredBytes
from mediavault.catalog.database import Catalog
from mediavault.catalog.derivations import Deriver, Original
from mediavault.catalog.identifiers import new_id
from mediavault.catalog.leases import Claim
from mediavault.domain.derivation import PICTURES, VIDEOS
from mediavault.domain.policy import Effect
from mediavault.domain.times import HOUR, Now
from mediavault.errors import DiskFull, ThumbnailRefused
from mediavault.telemetry import Events, logger
from mediavault.thumbnails.making import ThumbnailMaker
from mediavault.vault.configuring import effective_settings
from mediavault.vault.deriving import wants_thumbnail
from mediavault.vault.policing import against_keeping_now

#: From a store without local files a video is copied first: longer ones get no thumbnail.
_MOST_COPIED_BYTES = 2 << 30


class Derive:
    """Makes and stores one claimed thumbnail. Made once by assembly."""

    def __init__(self, catalog: Catalog, blobs: BlobStore, maker: ThumbnailMaker, now: Now) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self.maker = maker
        self._now = now
        #: What this storer can make thumbnails of, and what policy wants.
        self.deriver = Deriver(maker.makeable(), wants_thumbnail)

    async def __call__(
        self, claim: Claim, thumb_id: str, has_room: Callable[[], bool]
    ) -> tuple[StoredBytes, Effect | None]:
        """Carry a thumbnail's claim to its fact. Raises ThumbnailRefused, ThumbnailFailed, and as every store does."""
        originals = await derivations.originals(self._catalog, thumb_id, self.deriver.makeable)
        if not originals:
            raise ThumbnailRefused("nothing is stored of it that a thumbnail could be made of on this machine")
        original, version = originals[0], new_id(self._now())
        async with self._open(original) as fd:
            made = await self.maker.make(fd, original.content_type)
        if not has_room():
            raise DiskFull("the blob store has less free space than the floor; free some, or lower the floor")
        await self._catalog.run(limits.reserve, claim, len(made.data), effective_settings, self._now())
        blob = await self._blobs.put(
            blob_key(claim.org_id, claim.blob_id), _once(made.data), limit_bytes=len(made.data)
        )
        stored = StoredBytes(blob.size_bytes, blob.sha256, made.content_type, version)
        against = await self._catalog.run(
            derivations.settle_derived, claim, stored, original, against_keeping_now, self._now()
        )
        logger().info(Events.DERIVED, variant_id=thumb_id, original=original.variant_id, size_bytes=blob.size_bytes)
        return stored, against

    @asynccontextmanager
    async def _open(self, original: Original) -> AsyncGenerator[int, None]:
        """A descriptor of the original's bytes, with a position of its own. Raises BlobError, ThumbnailRefused."""
        key = blob_key(original.org_id, original.blob_id)
        file = self._blobs.open_file(key)
        if file is not None:
            try:
                yield file.fd
            finally:
                file.close()
            return
        with tempfile.TemporaryFile() as copy:
            async with aclosing(self._blobs.read(key)) as chunks:
                await _copy(chunks, copy)
            yield copy.fileno()


async def _copy(chunks: AsyncIterator[bytes], copy: IO[bytes]) -> None:
    async for chunk in chunks:
        if copy.tell() + len(chunk) > _MOST_COPIED_BYTES:
            raise ThumbnailRefused(f"its original is larger than {_MOST_COPIED_BYTES} bytes")
        await asyncio.to_thread(copy.write, chunk)
    copy.flush()
    os.lseek(copy.fileno(), 0, os.SEEK_SET)


async def _once(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data


class Lacking:
    """Finds stored media without a thumb, where policy wants one: after a start, and after a change of policy.

    What is stored from then on is seen when it is stored, so a connection that was gone through is left alone for long.
    """

    def __init__(
        self,
        catalog: Catalog,
        deriver: Deriver,
        wake: Callable[[], None],
        now: Now,
        every_seconds: float,
        again_ms: int = HOUR,
    ) -> None:
        self._catalog = catalog
        self._deriver = deriver
        self._wake = wake
        self._now = now
        self._every_seconds = every_seconds
        self._again_ms = again_ms
        self._done_at: dict[str, tuple[int, str, str | None]] = {}

    async def run(self) -> None:
        """Look at intervals until cancelled; without any means to make a thumbnail there is nothing to look for."""
        lacking = sorted((PICTURES | VIDEOS) - set(self._deriver.makeable))
        if lacking:
            logger().info(Events.THUMBNAILS_LIMITED, not_made_of=lacking)
        if not self._deriver.makeable:
            return
        while True:
            try:
                await self.look()
            except Exception:  # the loop outlives whatever it met
                logger().exception(Events.WORKER_FAILED, worker="thumbnails")
            await asyncio.sleep(self._every_seconds)

    async def look(self) -> int:
        """One round through the connections whose policy wants thumbnails. How many were queued."""
        queued = 0
        for org_id, connection_id, organisation, overrides in await derivations.with_stored(self._catalog):
            now, (at, *settings) = self._now(), self._done_at.get(connection_id, (0, "", None))
            if not effective_settings(organisation, overrides).derive_thumbnails:
                self._done_at.pop(connection_id, None)
            elif at + self._again_ms <= now or settings != [organisation, overrides]:
                queued += await self._through(org_id, connection_id)
                self._done_at[connection_id] = (now, organisation, overrides)
        return queued

    async def _through(self, org_id: str, connection_id: str) -> int:
        queued, last = 0, ""
        while page := await derivations.lacking(self._catalog, org_id, connection_id, last):
            queued += await self._catalog.run(derivations.want_some, page, self._deriver, self._now())
            last = page[-1]
            if queued:
                self._wake()
        return queued
