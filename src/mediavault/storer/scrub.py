"""The scrub: every stored blob is read and hashed again, round after round, at a bounded rate.

A round goes through the blobs in the order of their ids and is remembered as it goes on, so that a restart resumes it.
What it finds bad is quarantined (`vault/damaging.py`); what cannot be read is reported, and met again next round.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

import msgspec

from mediavault.blobs.store import BlobStore, blob_key
from mediavault.catalog import damage
from mediavault.catalog.damage import LiveBlob
from mediavault.catalog.database import Catalog
from mediavault.domain.times import DAY, MINUTE, Now
from mediavault.errors import BlobCorrupt, BlobNotFound, VaultError
from mediavault.telemetry import Events, logger
from mediavault.vault.damaging import Damaging, difference

_PAGE = 100
#: After so many bytes the round is written down: a crash repeats no more.
_REMEMBERED_BYTES = 64 << 20


@dataclass(frozen=True)
class ScrubConfig:
    """How fast and how often stored bytes are read again."""

    bytes_per_second: int = 4 << 20  #: 0 turns it off
    round_every_ms: int = 7 * DAY  #: from the begin of a round to the next one's
    look_every_seconds: float = MINUTE / 1000  #: whether a round is due


class Round(msgspec.Struct, frozen=True):
    """How far the scrub is."""

    began_at: int  #: Unix ms; 0 before the first round
    after: str  #: the last blob that was read; empty where no round is under way
    blobs: int = 0
    bytes: int = 0
    damaged: int = 0
    unreadable: int = 0


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

    async def run(self) -> None:
        """Begin or resume rounds as they come due; with a rate of 0 there are none, but what is left is set aside."""
        while True:
            try:
                await self._damaging.set_aside()
                if self._config.bytes_per_second:
                    await self.scrub()
            except Exception:  # the loop outlives whatever it met
                logger().exception(Events.WORKER_FAILED, worker="scrub")
            await asyncio.sleep(self._config.look_every_seconds)

    async def scrub(self) -> Round | None:
        """Carry the round under way, or a due one, to its end; None where none is due."""
        content = await damage.find_round(self._catalog)
        current = Round(0, "") if content is None else msgspec.json.decode(content, type=Round)
        if not current.after:
            if current.began_at and self._now() < current.began_at + self._config.round_every_ms:
                return None
            current = Round(self._now(), "")
        unwritten = 0
        while page := await damage.live_blobs(self._catalog, current.after, _PAGE):
            for blob in page:
                current = await self._counted(current, blob)
                unwritten += blob.size_bytes
                if unwritten >= _REMEMBERED_BYTES:
                    await self._remember(current)
                    unwritten = 0
            await self._remember(current)
        await self._remember(msgspec.structs.replace(current, after=""))
        done = msgspec.structs.asdict(current)
        logger().info(Events.SCRUBBED, **{name: done[name] for name in ("blobs", "bytes", "damaged", "unreadable")})
        return current

    async def _remember(self, current: Round) -> None:
        await self._catalog.run(damage.remember_round, msgspec.json.encode(current))

    async def _counted(self, current: Round, blob: LiveBlob) -> Round:
        """The round with one blob more; a blob that cannot be read does not keep the others."""
        damaged = unreadable = 0
        try:
            damaged = await self._check(blob)
        except VaultError as error:
            unreadable = 1
            logger().error(Events.BLOB_UNREADABLE, blob_id=blob.id, reason=str(error))
        return msgspec.structs.replace(
            current,
            after=blob.id,
            blobs=current.blobs + 1,
            bytes=current.bytes + blob.size_bytes,
            damaged=current.damaged + damaged,
            unreadable=current.unreadable + unreadable,
        )

    async def _check(self, blob: LiveBlob) -> int:
        """Whether it was quarantined just now. Raises BlobUnavailable, CatalogError."""
        try:
            found = await self._fault(blob)
        except BlobNotFound:
            if await damage.live_blob(self._catalog, blob.id) is None:
                return 0  # removed since the page was read
            await self._damaging.require_store(blob)
            found = "missing"
        except BlobCorrupt as error:
            found = str(error)
        if found is None or await damage.live_blob(self._catalog, blob.id) is None:
            return 0
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
