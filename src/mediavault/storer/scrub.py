"""The scrub: every stored blob is read and hashed again, round after round, at a bounded rate.

A round goes through the blobs in the order of their ids and is remembered as it goes on, so that a restart resumes it.
What it finds bad is quarantined (`vault/integrity/damaging.py`). What cannot be read is met again after a while: where
that fails too, the variants that rely on it say so until a later round can read it. It is not quarantined: a controller
or a cable that fails would take everything from everybody, and a disk that is mended would give back what was given up.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from mediavault.blobs.store import BlobStore, blob_key
from mediavault.catalog import damage, unreadable
from mediavault.catalog.damage import LiveBlob
from mediavault.catalog.database import Catalog
from mediavault.domain.scrub_round import ScrubRound
from mediavault.domain.times import DAY, MINUTE, Now
from mediavault.errors import BlobCorrupt, BlobError, BlobNotFound, BlobsAway
from mediavault.telemetry import Events, logger
from mediavault.vault.integrity.damaging import Damaging, difference

_PAGE = 100
#: After so many bytes the round is written down: a crash repeats no more.
_REMEMBERED_BYTES = 64 << 20


@dataclass(frozen=True)
class ScrubConfig:
    """How fast and how often stored bytes are read again."""

    bytes_per_second: int = 4 << 20  #: 0 turns it off
    round_every_ms: int = 7 * DAY  #: from the begin of a round to the next one's
    look_every_seconds: float = MINUTE / 1000  #: whether a round is due
    again_after_ms: int = 10 * MINUTE  #: what could not be read is read once more


@dataclass
class ScrubStatistics:
    """The scrub in numbers since this process began, for metrics."""

    blobs: int = 0
    bytes: int = 0
    damaged: int = 0
    unreadable: int = 0
    rounds: int = 0
    last_round_ended_at: int | None = None  #: Unix ms; of any process's


class Scrub:
    """One round after another until cancelled. `pause` waits so many seconds."""

    def __init__(
        self,
        catalog: Catalog,
        blobs: BlobStore,
        damaging: Damaging,
        now: Now,
        config: ScrubConfig,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._damaging = damaging
        self._now = now
        self._config = config
        self._pause = pause
        self.statistics = ScrubStatistics()

    async def run(self) -> None:
        """Begin or resume rounds as they come due; with a rate of 0 there are none, but what is left is set aside."""
        while True:
            try:
                await self._damaging.set_aside()
                if self._config.bytes_per_second:
                    await self.look_again()
                    await self.scrub()
            except Exception:  # the loop outlives whatever it met
                logger().exception(Events.WORKER_FAILED, worker="scrub")
            await asyncio.sleep(self._config.look_every_seconds)

    async def scrub(self) -> ScrubRound | None:
        """Carry the round under way, or a due one, to its end; None where none is due."""
        current = await self._round()
        if not current.is_due(self._now(), self._config.round_every_ms):
            return None
        current = current if current.after else current.begun(self._now())
        unwritten = 0
        while page := await damage.live_blobs(self._catalog, current.after, _PAGE):
            for blob in page:
                current = await self._counted(current, blob)
                unwritten += blob.size_bytes
                if unwritten >= _REMEMBERED_BYTES:
                    await self._remember(current)
                    unwritten = 0
            current = await self._looked_again(current)
            await self._remember(current)
        current = current.ended(self._now())
        await self._remember(current)
        self.statistics.rounds += 1
        done = msgspec.structs.asdict(current)
        logger().info(Events.SCRUBBED, **{name: done[name] for name in ("blobs", "bytes", "damaged", "unreadable")})
        return current

    async def look_again(self) -> ScrubRound:
        """Read once more what could not be read a while ago; report what still cannot."""
        before = await self._round()
        current = await self._looked_again(before)
        if current != before:
            await self._remember(current)
        return current

    async def _round(self) -> ScrubRound:
        content = await damage.find_round(self._catalog)
        found = ScrubRound(0) if content is None else msgspec.json.decode(content, type=ScrubRound)
        self.statistics.last_round_ended_at = found.ended_at
        return found

    async def _remember(self, current: ScrubRound) -> None:
        await self._catalog.run(damage.remember_round, msgspec.json.encode(current))
        self.statistics.last_round_ended_at = current.ended_at

    async def _counted(self, current: ScrubRound, blob: LiveBlob) -> ScrubRound:
        """The round with one blob more; a blob that cannot be read does not keep the others. Raises CatalogError."""
        damaged, failed = False, True
        try:
            damaged = await self._check(blob)
            failed = False
        except BlobsAway:
            pass  # told where it was found, once for all of them
        except BlobError as error:
            logger().error(Events.BLOB_UNREADABLE, blob_id=blob.id, reason=str(error))
            current = current.doubted(blob.id, self._now())
        if not failed:
            current = await self._readable(current, blob.id)
        self.statistics.blobs += 1
        self.statistics.bytes += blob.size_bytes
        self.statistics.damaged += damaged
        self.statistics.unreadable += failed
        return current.passed(blob.id, blob.size_bytes, damaged=damaged, unreadable=failed)

    async def _looked_again(self, current: ScrubRound) -> ScrubRound:
        for blob_id in current.due_again(self._now(), self._config.again_after_ms):
            blob = await damage.live_blob(self._catalog, blob_id)
            try:
                self.statistics.damaged += blob is not None and await self._check(blob)
            except BlobsAway:
                continue
            except BlobError as error:
                variants = await self._catalog.run(unreadable.report, blob_id, str(error), self._now())
                logger().error(
                    Events.BLOB_STILL_UNREADABLE, blob_id=blob_id, reason=str(error), variant_ids=variants[:100]
                )
                current = current.said(blob_id)
            else:
                current = current.cleared(blob_id)
        return current

    async def _readable(self, current: ScrubRound, blob_id: str) -> ScrubRound:
        if blob_id in current.reported:
            variants = await self._catalog.run(unreadable.withdraw, blob_id)
            logger().info(Events.BLOB_READABLE, blob_id=blob_id, variant_ids=variants[:100])
        return current.cleared(blob_id)

    async def _check(self, blob: LiveBlob) -> bool:
        """Whether it was quarantined just now. Raises BlobUnavailable, CatalogError."""
        try:
            found = await self._fault(blob)
        except BlobNotFound:
            if await damage.live_blob(self._catalog, blob.id) is None:
                return False  # removed since the page was read
            await self._damaging.require_store(blob)
            found = "missing"
        except BlobCorrupt as error:
            found = str(error)
        if found is None or await damage.live_blob(self._catalog, blob.id) is None:
            return False
        return await self._damaging.quarantine(blob, found) is not None

    async def _fault(self, blob: LiveBlob) -> str | None:
        """What is wrong with the bytes, as far as they can be read. Raises BlobError."""
        digest, size_bytes = hashlib.sha256(), 0
        async with aclosing(self._blobs.read(blob_key(blob.org_id, blob.id))) as chunks:
            async for chunk in chunks:
                await asyncio.to_thread(digest.update, chunk)
                size_bytes += len(chunk)
                if size_bytes > blob.size_bytes:
                    return f"more than its {blob.size_bytes} bytes"
                await self._pause(len(chunk) / self._config.bytes_per_second)
        return difference(blob, size_bytes, digest.hexdigest())
