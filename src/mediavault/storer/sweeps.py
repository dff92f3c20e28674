"""Sweeps: what crashes, removals and lost races leave behind is put in order, without hands."""

import asyncio
from dataclasses import dataclass

from mediavault.blobs.store import BlobKey, BlobStore, blob_key
from mediavault.catalog import blob_rows, leases
from mediavault.catalog.database import Catalog
from mediavault.domain.times import DAY, Now
from mediavault.errors import BlobError
from mediavault.telemetry import Events, logger

_DOOMED_AT_ONCE = 200


@dataclass(frozen=True)
class SweepConfig:
    """When things are swept."""

    every_seconds: float = 10
    undo_window_ms: int = 1 * DAY  #: how long removed bytes can be restored
    abandoned_after_seconds: float = 24 * 3600  #: an unreferenced staging file is younger than this


class Sweeps:
    """One round after another until cancelled."""

    def __init__(self, catalog: Catalog, blobs: BlobStore, now: Now, config: SweepConfig) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._now = now
        self._config = config

    async def run(self) -> None:
        """Sweep at intervals."""
        while True:
            try:
                await self.sweep()
            except Exception:  # the loop outlives whatever it met
                logger().exception(Events.WORKER_FAILED, worker="sweeps")
            await asyncio.sleep(self._config.every_seconds)

    async def sweep(self) -> None:
        """One round: dead leases, dead intents, bytes past the undo window, doomed bytes, abandoned staging files."""
        reclaimed = await self._catalog.run(leases.reclaim, self._now())
        if reclaimed:
            logger().info(Events.RECLAIMED, variants=reclaimed)
        await self._catalog.run(blob_rows.doom_dead_intents)
        while await self._catalog.run(blob_rows.release_retained, self._now() - self._config.undo_window_ms):
            continue
        deleted = await self._delete_doomed()
        if deleted:
            logger().info(Events.SWEPT, blobs=deleted)
        await self._blobs.sweep_staging(self._config.abandoned_after_seconds)

    async def _delete_doomed(self) -> int:
        """Bytes first, then the row: a crash between the two leaves a row that is swept again."""
        deleted = 0
        while doomed := await self._catalog.run(blob_rows.doomed, _DOOMED_AT_ONCE):
            gone = [await self._delete(blob_key(org_id, blob_id), blob_id) for blob_id, org_id in doomed]
            deleted += sum(gone)
            if not any(gone):
                break
        return deleted

    async def _delete(self, key: BlobKey, blob_id: str) -> bool:
        """Whether it is gone: one that cannot be deleted must not keep the others."""
        try:
            await self._blobs.delete(key)
        except BlobError:
            logger().exception(Events.WORKER_FAILED, worker="sweeps")
            return False
        await self._catalog.run(blob_rows.forget, blob_id)
        return True
