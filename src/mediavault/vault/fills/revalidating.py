"""Revalidating: an edge copy whose time is over is asked about with its validators before it is served again.

304, or the same validators, refresh it. Other bytes are fetched as a new version. While the origin fails the stale copy
is served within a grace (stale-if-error, RFC 5861), whatever the failure: a vault keeps what its origin drops. One
request does for everybody who waits.
"""

import asyncio

from mediavault.catalog.variants import Variant
from mediavault.domain.times import Now
from mediavault.edge.cache import EdgeCache
from mediavault.edge.copies import EdgeCopy
from mediavault.errors import OriginError, OriginRefused, OriginUnavailable, VaultError
from mediavault.origin.client import GuardedClient, Response
from mediavault.origin.media_fetch import check_status
from mediavault.telemetry import Events, logger
from mediavault.vault.fills.config import FillConfig
from mediavault.vault.fills.cooling import CoolDowns, cooling_down
from mediavault.vault.fills.reminting import Reminting
from mediavault.vault.fills.turns import Turns, Urgency
from mediavault.vault.fills.url import FillUrl
from mediavault.vault.sealing import Sealer


class Revalidating:
    """The revalidations of this process."""

    def __init__(
        self,
        edge: EdgeCache,
        client: GuardedClient,
        turns: Turns,
        sealer: Sealer,
        reminting: Reminting,
        cool_downs: CoolDowns,
        now: Now,
        config: FillConfig,
    ) -> None:
        self._edge = edge
        self._client = client
        self._turns = turns
        self._sealer = sealer
        self._reminting = reminting
        self._cool_downs = cool_downs
        self._now = now
        self._config = config
        self._running: dict[str, asyncio.Task[EdgeCopy | None]] = {}

    async def revalidate(self, variant: Variant, stale: EdgeCopy) -> EdgeCopy | None:
        """The copy, fresh again; None where the origin has other bytes. Raises OriginError, OriginBusy."""
        running = self._running.get(variant.id)
        if running is None:
            running = self._running[variant.id] = asyncio.create_task(self._ask(variant, stale))
            running.add_done_callback(lambda task: self._ended(variant.id, task))
        # Whoever leaves does not stop it for the others.
        return await asyncio.shield(running)

    def stale(self, copy: EdgeCopy, error: VaultError) -> EdgeCopy:
        """The stale copy, to be served because of the error. Raises the error where the grace is over."""
        if self._now() >= copy.fresh_until + self._config.stale_if_error_ms:
            raise error.with_traceback(None)
        self._edge.serve_stale(type(error).__name__)
        return copy

    async def drain(self) -> None:
        """Stop what still asks."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _ended(self, variant_id: str, task: "asyncio.Task[EdgeCopy | None]") -> None:
        del self._running[variant_id]
        if not task.cancelled():
            task.exception()  # the waiters may all have left; that is no unhandled error

    async def _ask(self, variant: Variant, stale: EdgeCopy) -> EdgeCopy | None:
        self._cool_downs.check(variant)
        if variant.not_before > self._now():
            raise cooling_down(variant.last_error, variant.not_before, self._now())
        url = FillUrl(variant, self._sealer, self._reminting, self._now)
        try:
            is_same = await self._is_same(url, stale)
        except asyncio.CancelledError:  # of this task: those who wait for it are not cancelled
            raise OriginUnavailable("the vault is stopping") from None
        except OriginError as error:
            logger().warning(Events.REVALIDATION_FAILED, variant_id=variant.id, reason=str(error))
            await self._cool_downs.blame(url.variant, error, also_key=variant.origin_key)
            raise
        if not is_same:
            self._edge.count_superseded()
            return None
        return await asyncio.to_thread(self._edge.refresh, stale, self._now() + self._config.fresh_ms)

    async def _is_same(self, url: FillUrl, stale: EdgeCopy) -> bool:
        """Ask; a URL that no longer works is replaced by a fresh one, once."""
        while True:
            key = url.key
            try:
                return await self._answer(url, stale)
            except OriginRefused as refused:
                await url.renew(refused, key, 0)  # raises where there is no other URL

    async def _answer(self, url: FillUrl, stale: EdgeCopy) -> bool:
        address = await url.current()
        async with (
            self._turns.turn(address, url.variant.connection_id, Urgency(urgent=True)),
            self._client.get(address, _conditions(stale)) as response,
        ):
            check_status(response)
            if response.status == 304:
                return bool(_conditions(stale))
            if response.status != 200:
                raise OriginUnavailable(f"the origin answered {response.status} to a revalidation")
            return _is_the_same(response, stale)


def _conditions(copy: EdgeCopy) -> dict[str, str]:
    """What the origin is asked with: If-Modified-Since counts only where it knows no ETag (RFC 9110 §13.1.3)."""
    conditions = {}
    if copy.origin_etag is not None:
        conditions["If-None-Match"] = copy.origin_etag
    if copy.origin_last_modified is not None:
        conditions["If-Modified-Since"] = copy.origin_last_modified
    return conditions


def _is_the_same(response: Response, copy: EdgeCopy) -> bool:
    """Whether a whole answer is of the copy's bytes after all: some origins give validators and know no conditions."""
    etag, length = response.headers.get("ETag"), response.headers.get("Content-Length")
    if length != str(copy.size_bytes):
        return False
    if etag is not None or copy.origin_etag is not None:
        return etag == copy.origin_etag
    last_modified = response.headers.get("Last-Modified")
    return last_modified is not None and last_modified == copy.origin_last_modified
