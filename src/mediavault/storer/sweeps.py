"""Sweeps: what crashes, removals and lost races leave behind is put in order, and what time has ended is removed."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from mediavault.blobs.store import BlobKey, BlobStore, blob_key
from mediavault.catalog import blob_moves, blob_rows, leases, removals, retention, superseded
from mediavault.catalog.database import Catalog
from mediavault.catalog.removals import Removed
from mediavault.domain.times import DAY, Now
from mediavault.edge.cache import EdgeCache
from mediavault.errors import BlobError, LostRace
from mediavault.telemetry import Events, logger
from mediavault.vault.configuring import effective_settings

_DOOMED_AT_ONCE = 200


@dataclass(frozen=True)
class SweepConfig:
    """When things are swept."""

    every_seconds: float = 10
    undo_window_ms: int = 1 * DAY  #: how long removed bytes can be restored
    abandoned_after_seconds: float = 24 * 3600  #: an unreferenced staging file is younger than this


class Sweeps:
    """One round after another until cancelled."""

    def __init__(
        self,
        catalog: Catalog,
        blobs: BlobStore,
        edge: EdgeCache,
        resume_policy: Callable[[], Awaitable[int]],
        now: Now,
        config: SweepConfig,
    ) -> None:
        self._catalog = catalog
        self._blobs = blobs
        self._edge = edge
        self._resume_policy = resume_policy
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
        """One round: leases, intents, unfinished policy, media and bytes past their time, doomed and staging files."""
        reclaimed = await self._catalog.run(leases.reclaim, self._now())
        if reclaimed:
            logger().info(Events.RECLAIMED, variants=reclaimed)
        await self._catalog.run(blob_moves.expire, self._now())
        await self._catalog.run(blob_rows.doom_dead_intents)
        await self._resume_policy()
        await self._expire()
        await self._let_superseded_go()
        await self._remove_leftovers()
        while await self._catalog.run(blob_rows.release_retained, self._now() - self._config.undo_window_ms):
            continue
        deleted = await self._delete_doomed()
        if deleted:
            logger().info(Events.SWEPT, blobs=deleted)
        await self._blobs.sweep_staging(self._config.abandoned_after_seconds)

    async def _expire(self) -> None:
        """Remove what retention and access expiry have ended, a batch a transaction."""
        for org_id, connection_id in await retention.with_policies(self._catalog, effective_settings):
            try:
                while self._forget_copies(
                    await self._catalog.run(
                        retention.expire_some, org_id, connection_id, effective_settings, self._now()
                    )
                ):
                    continue
            except LostRace:  # the connection went meanwhile
                continue

    async def _let_superseded_go(self) -> None:
        """Of what waits for newer bytes, the old ones whose time policy has ended."""
        for org_id, connection_id in await superseded.with_superseded(self._catalog):
            after = ""
            with suppress(LostRace):  # the connection went meanwhile
                while after := await self._catalog.run(
                    superseded.let_go, org_id, connection_id, after, effective_settings, self._now()
                ):
                    continue

    async def _remove_leftovers(self) -> None:
        """Remove what a crash between a disconnect and its purge left."""
        for org_id, connection_id in await retention.leftovers(self._catalog):
            while self._forget_copies(
                await self._catalog.run(removals.remove_some, org_id, connection_id, "disconnected", self._now())
            ):
                continue

    def _forget_copies(self, removed: Removed) -> bool:
        """Whether there may be more: the batch was not empty."""
        for variant_id in removed.variant_ids:
            self._edge.drop(variant_id)
        return bool(removed.variant_ids)

    async def _delete_doomed(self) -> int:
        """Bytes first, then the row: a crash between the two leaves a row that is swept again."""
        deleted = 0
        while doomed := await self._catalog.run(blob_rows.doomed, _DOOMED_AT_ONCE, self._now()):
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
