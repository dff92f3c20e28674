"""Moving blobs between stores while the vault serves: copy, read the copy back, then the row; the old one goes later.

A move is asked for in turns of a few seconds. Everything it must remember lies in the catalog, so a turn may be asked
again by anybody, also after a kill; two movers at once only waste each other's copies.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress

from msgspec import Struct

from mediavault.blobs.store import BlobKey, BlobStore, blob_key
from mediavault.catalog import blob_moves
from mediavault.catalog.blob_moves import Movable
from mediavault.catalog.database import Catalog
from mediavault.catalog.identifiers import new_id
from mediavault.domain.times import MINUTE, Now
from mediavault.errors import BlobCorrupt, BlobNotFound, CatalogError, InvalidRequest, LostRace, VaultError
from mediavault.telemetry import Events, logger

_BATCH = 64
_AT_ONCE = 4
#: How long the intent of a copy is believed without being renewed.
_LEASE_MS = 10 * MINUTE
_RENEW_SECONDS = 60
#: How long the old bytes stay, for who found their key before the copy took its place.
_GRACE_MS = 5 * MINUTE


class Turn(Struct, frozen=True, rename="camel"):
    """What one turn did, and where the next one begins."""

    moved: int
    moved_bytes: int
    found: int  #: were there already
    failed: Sequence[str]  #: each blob's id and why
    after: str  #: the next turn's `after`
    done: bool  #: nothing is left behind `after`
    left: int  #: blobs that are not known to be there yet, the failed ones among them
    left_bytes: int
    doomed: int  #: old copies, and other dead blobs, that the sweep has still to delete


class Moving:
    """Moves blobs to one of the places that the vault reads from."""

    def __init__(self, catalog: Catalog, blobs: BlobStore, places: Mapping[str, BlobStore], now: Now) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._places = places
        self._now = now

    async def turn(self, to: str, after: str, seconds: float) -> Turn:
        """Move for so long, from the blob behind `after` on. Raises InvalidRequest for a place nobody reads from."""
        if to not in self._places:
            known = " and ".join(self._places)
            raise InvalidRequest(
                f"this vault does not read from {to}, only from {known}: start it with MEDIAVAULT_BLOBS_URL where "
                "blobs belong and MEDIAVAULT_BLOBS_PREVIOUS_URL where they lie"
            )
        return await _Mover(self._catalog, self._blobs, self._places[to], to, self._now).turn(after, seconds)


class _Mover:
    """One turn."""

    def __init__(self, catalog: Catalog, blobs: BlobStore, target: BlobStore, to: str, now: Now) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._target = target
        self._to = to
        self._now = now
        self._moved = self._moved_bytes = self._found = 0
        self._failed: list[str] = []

    async def turn(self, after: str, seconds: float) -> Turn:
        until = asyncio.get_running_loop().time() + seconds
        done = False
        while not done and asyncio.get_running_loop().time() < until:
            batch = await blob_moves.movable(self._catalog, self._to, after, _BATCH)
            done = len(batch) < _BATCH
            for start in range(0, len(batch), _AT_ONCE):
                group = batch[start : start + _AT_ONCE]
                await _all_ended(self._carry(blob) for blob in group)
                after = group[-1].id
                if asyncio.get_running_loop().time() >= until and start + _AT_ONCE < len(batch):
                    done = False
                    break
        left, left_bytes = await blob_moves.left(self._catalog, self._to)
        doomed = await blob_moves.kept(self._catalog)
        return Turn(self._moved, self._moved_bytes, self._found, self._failed, after, done, left, left_bytes, doomed)

    async def _carry(self, blob: Movable) -> None:
        """One blob; what fails keeps none of the others."""
        try:
            if await self._is_there(blob):
                await self._catalog.run(blob_moves.say_place, blob.id, self._to)
                self._found += 1
                return
            await self._move(blob)
        except LostRace as error:  # removed, or changed, meanwhile: the next round meets what is there then
            logger().info(Events.MOVE_FAILED, blob_id=blob.id, reason=str(error))
        except CatalogError:
            raise
        except VaultError as error:
            self._failed.append(f"{blob.id}: {error}")
            logger().warning(Events.MOVE_FAILED, blob_id=blob.id, reason=str(error))
        else:
            self._moved += 1
            self._moved_bytes += blob.size_bytes

    async def _is_there(self, blob: Movable) -> bool:
        """Whether it lies at the target already: written there by this vault, which says nothing of the place."""
        try:
            async with aclosing(self._target.read(blob_key(blob.org_id, blob.id), 0, 1)) as pieces:
                async for _ in pieces:
                    pass
        except BlobNotFound:
            return False
        return True

    async def _move(self, blob: Movable) -> None:
        now = self._now()
        copy_id = new_id(now)
        await self._catalog.run(blob_moves.intend, blob, copy_id, self._to, now + _LEASE_MS, now)
        renewing = asyncio.create_task(self._renew(copy_id))
        copy = blob_key(blob.org_id, copy_id)
        try:
            await self._copy(blob, copy)
            await self._catalog.run(blob_moves.settle, blob, copy_id, self._now() + _GRACE_MS)
        except BaseException:
            with suppress(VaultError):  # else its time runs out, and the sweep takes it
                await self._catalog.run(blob_moves.abandon, copy_id)
            raise
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing

    async def _copy(self, blob: Movable, copy: BlobKey) -> None:
        """Copy, and believe neither what was read nor what was written before its digest was seen."""
        async with aclosing(self._blobs.read(blob_key(blob.org_id, blob.id))) as pieces:
            written = await self._target.put(copy, pieces, limit_bytes=blob.size_bytes)
        if (written.sha256, written.size_bytes) != (blob.sha256, blob.size_bytes):
            raise BlobCorrupt("its bytes are not those that were stored: `mediavault verify` says more")
        kept = await self._target.measure(copy)
        if kept.sha256 != blob.sha256:
            raise BlobCorrupt(f"{self._to} gives back other bytes than it was given")

    async def _renew(self, copy_id: str) -> None:
        """Say that the copy is still being written, until cancelled or swept."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            try:
                await self._catalog.run(blob_moves.renew, copy_id, self._now() + _LEASE_MS)
            except LostRace:
                return
            except VaultError:  # the database may be back before the time runs out
                logger().exception(Events.WORKER_FAILED, worker="move")


async def _all_ended(works: Iterable[Awaitable[None]]) -> None:
    """Wait for all of them, also when one fails; then raise the first failure. Cancelled, cancel and await them all."""
    running = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(running)
    finally:
        for each in running:
            each.cancel()
        outcomes = await asyncio.gather(*running, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
