"""Counting views: in memory on the way, written in batches. A flush is also when policy sees what was viewed."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from mediavault.catalog import variants
from mediavault.catalog.database import Catalog
from mediavault.catalog.variants import Views
from mediavault.domain.times import Now
from mediavault.errors import VaultError
from mediavault.telemetry import Events, logger
from mediavault.vault.storing import Storing


@dataclass(slots=True)
class _Tally:
    count: int
    last_at: int  #: Unix ms


class Counting:
    """The views since the last flush. kill -9 loses at most one flush window of them (reliability, invariant 8)."""

    def __init__(self, catalog: Catalog, storing: Storing, now: Now, flush_seconds: float = 0.25) -> None:
        self._catalog = catalog
        self._storing = storing
        self._now = now
        self._flush_seconds = flush_seconds
        self._views: dict[str, _Tally] = {}  #: by variant
        self._some = asyncio.Event()
        self._flushing: asyncio.Task[None] | None = None

    def count(self, variant_id: str) -> None:
        """One view more."""
        seen = self._views.get(variant_id)
        if seen is None:
            self._views[variant_id] = _Tally(1, self._now())
            self._some.set()
        else:
            seen.count += 1
            seen.last_at = self._now()

    async def flush(self) -> None:
        """Write what was counted, and queue what policy wants stored now. Raises CatalogError; nothing is lost then.

        Whoever is cancelled here leaves a flush that goes on, and the next one waits for it: its outcome is known then.
        """
        while self._flushing is not None and not self._flushing.done():
            await asyncio.wait([self._flushing])
        self._flushing = asyncio.create_task(self._write())
        await asyncio.shield(self._flushing)

    async def _write(self) -> None:
        counted, self._views = self._views, {}
        self._some.clear()
        if not counted:
            return
        views = [Views(variant_id, tally.count, tally.last_at) for variant_id, tally in counted.items()]
        try:
            viewed = await self._catalog.run(variants.count_views, views)
        except VaultError:
            self._take_back(views)
            raise
        try:
            await self._storing.apply_policy(viewed)
        except VaultError:  # they are counted; policy still has to see them
            self._take_back(Views(variant.id, 0, counted[variant.id].last_at) for variant in viewed)
            raise

    def _take_back(self, views: Iterable[Views]) -> None:
        for view in views:
            later = self._views.setdefault(view.variant_id, _Tally(0, view.last_at))
            later.count += view.count
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
