"""Counting views: in memory on the way, written in batches. A flush is also when policy sees what was viewed."""

import asyncio
from collections.abc import Iterable

from mediavault.catalog import variants
from mediavault.catalog.database import Catalog
from mediavault.catalog.variants import Views
from mediavault.domain.times import Now
from mediavault.errors import VaultError
from mediavault.telemetry import Events, logger
from mediavault.vault.storing import Storing


class Counting:
    """The views since the last flush. kill -9 loses at most one flush window of them (reliability, invariant 8)."""

    def __init__(self, catalog: Catalog, storing: Storing, now: Now, flush_seconds: float = 0.25) -> None:
        self._catalog = catalog
        self._storing = storing
        self._now = now
        self._flush_seconds = flush_seconds
        self._views: dict[str, Views] = {}
        self._some = asyncio.Event()
        self._flushing: asyncio.Task[None] | None = None

    def count(self, variant_id: str) -> None:
        """One view more."""
        seen = self._views.get(variant_id)
        self._views[variant_id] = Views(variant_id, seen.count + 1 if seen else 1, self._now())
        self._some.set()

    async def flush(self) -> None:
        """Write what was counted, and queue what policy wants stored now. Raises CatalogError; nothing is lost then.

        Whoever is cancelled here leaves a flush that goes on, and the next one waits for it: its outcome is known then.
        """
        while self._flushing is not None and not self._flushing.done():
            await asyncio.wait([self._flushing])
        self._flushing = asyncio.create_task(self._write())
        await asyncio.shield(self._flushing)

    async def _write(self) -> None:
        views, self._views = self._views, {}
        self._some.clear()
        if not views:
            return
        try:
            viewed = await self._catalog.run(variants.count_views, list(views.values()))
        except VaultError:
            self._take_back(views.values())
            raise
        try:
            await self._storing.apply_policy(viewed)
        except VaultError:  # they are counted; policy still has to see them
            self._take_back(Views(variant.id, 0, views[variant.id].last_at) for variant in viewed)
            raise

    def _take_back(self, views: Iterable[Views]) -> None:
        for view in views:
            later = self._views.get(view.variant_id)
            self._views[view.variant_id] = (
                view if later is None else Views(view.variant_id, view.count + later.count, later.last_at)
            )
        self._some.set()

    async def run(self) -> None:
        """Flush a little after something was counted, until cancelled."""
        while True:
            await self._some.wait()
            await asyncio.sleep(self._flush_seconds)
            try:
                await self.flush()
            except Exception:  # the loop outlives whatever it met
                logger().exception(Events.WORKER_FAILED, worker="counting")
                await asyncio.sleep(1)
