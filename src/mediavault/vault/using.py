"""When keys were last used: noted in memory on the way, written in batches."""

import asyncio

from mediavault.catalog import organisations
from mediavault.catalog.database import Catalog
from mediavault.telemetry import Events, logger


class KeyUses:
    """The last use of each key since the last flush. kill -9 loses at most one flush window of them."""

    def __init__(self, catalog: Catalog, flush_seconds: float = 10) -> None:
        self._catalog = catalog
        self._flush_seconds = flush_seconds
        #: By key id, in Unix ms. Whoever lets a key in sets it: one store into a dict, on every request.
        self.last: dict[str, int] = {}

    async def flush(self) -> None:
        """Write what was noted. Raises CatalogError; nothing is lost then."""
        uses, self.last = self.last, {}
        if not uses:
            return
        try:
            await self._catalog.run(organisations.note_uses, uses)
        except BaseException:  # a cancelled flush may have been written: a second time changes nothing
            self.last = uses | self.last
            raise

    async def run(self) -> None:
        """Flush now and then, until cancelled."""
        while True:
            await asyncio.sleep(self._flush_seconds)
            try:
                await self.flush()
            except Exception:  # the loop outlives whatever it met
                logger().exception(Events.WORKER_FAILED, worker="key uses")
