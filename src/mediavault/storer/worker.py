"""The storer's loop: claims while there is work and room, sleeps until woken."""

import asyncio
from dataclasses import dataclass

from mediavault.catalog import leases
from mediavault.catalog.database import Catalog
from mediavault.catalog.leases import Claim
from mediavault.domain.times import Now
from mediavault.storer.store_variant import StoreVariant
from mediavault.telemetry import Events, logger


@dataclass(frozen=True)
class WorkerConfig:
    """How much is stored at once."""

    stores_at_once: int = 8
    look_every_seconds: float = 0.5  #: for work that comes due, or that another process queued


class Worker:
    """Claims and runs stores until it is drained."""

    def __init__(
        self, catalog: Catalog, store: StoreVariant, now: Now, *, holder: str, lease_ms: int, config: WorkerConfig
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._now = now
        self._holder = holder
        self._lease_ms = lease_ms
        self._config = config
        self._work = asyncio.Event()
        self._stores: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """There may be work."""
        self._work.set()

    async def run(self) -> None:
        """Claim and store until cancelled; stores that run go on then, `drain` ends them."""
        while True:
            self._work.clear()
            try:
                claimed = await self._claim_all_there_is_room_for()
            except Exception:  # the loop outlives whatever it met
                logger().exception(Events.WORKER_FAILED, worker="storer")
                claimed = False
            if not claimed:
                await self._sleep()

    async def _claim_all_there_is_room_for(self) -> bool:
        claimed = False
        while len(self._stores) < self._config.stores_at_once and self._store.has_room():
            if not await self._claim():
                return claimed
            claimed = True
        return False  # wait for a store to end, or for free space

    async def _claim(self) -> bool:
        """Claim and start one store; False when there is none. Cancelled, it still starts what it has claimed."""
        claiming = asyncio.create_task(self._catalog.run(leases.claim, self._holder, self._lease_ms, self._now()))
        try:
            claim = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            if (claim := await claiming) is not None:
                self._start(claim)
            raise
        if claim is not None:
            self._start(claim)
        return claim is not None

    def _start(self, claim: Claim) -> None:
        task = asyncio.create_task(self._run_store(claim))
        self._stores.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._stores.discard(task)
        self._work.set()

    async def _run_store(self, claim: Claim) -> None:
        try:
            await self._store(claim)
        except asyncio.CancelledError:
            raise
        except Exception:  # the lease runs out and the variant is claimed again
            logger().exception(Events.WORKER_FAILED, worker="store", variant_id=claim.variant_id)

    async def _sleep(self) -> None:
        try:
            async with asyncio.timeout(self._config.look_every_seconds):
                await self._work.wait()
        except TimeoutError:
            return

    async def drain(self, seconds: float) -> None:
        """Let running stores end within the time; the rest is cut, and given back for the next start."""
        stores = list(self._stores)
        if stores:
            await asyncio.wait(stores, timeout=seconds)
        for store in stores:
            store.cancel()
        await asyncio.gather(*stores, return_exceptions=True)
