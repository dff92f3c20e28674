"""Tending the edge cache: its floor is kept free though others fill the disk, and its use is written down."""

import asyncio
from dataclasses import dataclass

from mediavault.edge.cache import EdgeCache
from mediavault.errors import VaultError
from mediavault.telemetry import Events, logger


@dataclass(frozen=True)
class TendConfig:
    """How often the edge cache is looked after."""

    trim_every_seconds: float = 10
    remember_every_seconds: float = 300  #: so much of the copies' use is forgotten after a crash, at most


class Tending:
    """One round after another until cancelled."""

    def __init__(self, edge: EdgeCache, config: TendConfig) -> None:
        self._edge = edge
        self._config = config

    async def run(self) -> None:
        """Trim and remember at intervals."""
        loop = asyncio.get_running_loop()
        remembered_at = loop.time()
        while True:
            await asyncio.sleep(self._config.trim_every_seconds)
            await self.trim()
            if loop.time() - remembered_at >= self._config.remember_every_seconds:
                await self.remember()
                remembered_at = loop.time()

    async def trim(self) -> None:
        """Give the disk back what the floor lacks."""
        try:
            trimmed_bytes = await asyncio.to_thread(self._edge.trim)
        except VaultError:  # the disk may answer the next time
            logger().exception(Events.WORKER_FAILED, worker="tending")
            return
        if trimmed_bytes:
            logger().info(Events.EDGE_TRIMMED, bytes=trimmed_bytes)

    async def remember(self) -> None:
        """Write down how the copies were used; that is a hint, and may fail."""
        try:
            await asyncio.to_thread(self._edge.remember)
        except VaultError:
            logger().exception(Events.WORKER_FAILED, worker="tending")
