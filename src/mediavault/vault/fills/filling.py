"""Filling: at most one fetch of a variant at a time, whoever asks and however many.

A fill serves viewers while it runs, then the storers that wait for it, then becomes the edge cache's copy. Where all of
the object is wanted, nobody who leaves stops it. Where only parts are, it ends a while after its last reader, and what
it has is gone. A failure is remembered with the variant, so that the origin is not asked again at every view.
"""

import asyncio
import hashlib
from collections.abc import Coroutine
from typing import Any

from mediavault.catalog import variants
from mediavault.catalog.database import Catalog
from mediavault.catalog.identifiers import new_id
from mediavault.catalog.variants import Variant
from mediavault.domain import origin_expiry
from mediavault.domain.byte_ranges import Slice
from mediavault.domain.lifecycle import Status
from mediavault.domain.times import Now
from mediavault.edge.cache import EdgeCache
from mediavault.edge.copies import EdgeCopy
from mediavault.edge.offloading import Offloading
from mediavault.edge.staging import Staging
from mediavault.errors import OriginChanged, OriginUnavailable, VaultError
from mediavault.origin.client import GuardedClient
from mediavault.telemetry import Events, logger
from mediavault.vault.fills.answers import FillAnswers
from mediavault.vault.fills.config import FillConfig
from mediavault.vault.fills.cooling import CoolDowns
from mediavault.vault.fills.fill import Fill, Filled
from mediavault.vault.fills.leading import Leading
from mediavault.vault.fills.media_start import first_bytes, verified_content_type
from mediavault.vault.fills.reminting import Reminting
from mediavault.vault.fills.turns import Turns
from mediavault.vault.fills.url import FillUrl
from mediavault.vault.sealing import Sealer

__all__ = ["FillConfig", "Filling", "first_bytes", "verified_content_type"]

#: An object that changes again and again while it is fetched will not come to rest for our sake.
_MOST_RESTARTS = 3


class Filling:
    """The fills of this process."""

    def __init__(
        self,
        catalog: Catalog,
        edge: EdgeCache,
        client: GuardedClient,
        sealer: Sealer,
        reminting: Reminting,
        turns: Turns,
        cool_downs: CoolDowns,
        now: Now,
        config: FillConfig,
    ) -> None:
        self._catalog = catalog
        self._edge = edge
        self._client = client
        self._sealer = sealer
        self._reminting = reminting
        self._turns = turns
        self._cool_downs = cool_downs
        self._offloading = Offloading()
        self._now = now
        self._config = config
        self._running: dict[str, Fill] = {}
        self._leaders: set[asyncio.Task[None]] = set()

    def running(self, variant_id: str) -> Fill | None:
        """The variant's fill, if there is one that may still be joined."""
        return self._running.get(variant_id)

    def fill(self, variant: Variant, first: Slice | None = None, *, background: bool = False) -> Fill:
        """Join the variant's fill, or start it. `first` is the part that is wanted; None: all of it.

        A fill in the background lets viewers' go before it, until a viewer joins. Raises OriginCoolingDown.
        """
        fill = self._running.get(variant.id)
        if fill is None or _is_of_what_was_removed(fill, variant):
            self._cool_downs.check(variant, lasting_only=background)
            self._dismiss_idle()
            fill = self._begun(variant, first)
        if not background:
            fill.urgency.hasten()
        if first is None:
            fill.want_whole()
        return fill

    async def drain(self) -> None:
        """Stop what still runs: bytes that nobody has for good are fetched again."""
        leaders = list(self._leaders)
        for leader in leaders:
            leader.cancel()
        await asyncio.gather(*leaders, return_exceptions=True)
        await self._reminting.drain()

    def _begun(self, variant: Variant, first: Slice | None) -> Fill:
        now = self._now()
        fill = self._running[variant.id] = Fill(variant.id, new_id(now), variant.origin_key, now)
        self._start(self._lead(fill, variant, first))
        return fill

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._leaders.add(task)
        task.add_done_callback(self._leaders.discard)

    def _dismiss_idle(self) -> None:
        """Parts that nobody reads are kept for a while, but not any number of them."""
        idle = [fill for fill in self._running.values() if fill.is_idle]
        for fill in idle[: max(0, len(idle) - self._config.most_idle_parts)]:
            fill.dismiss()

    async def _lead(self, fill: Fill, variant: Variant, first: Slice | None) -> None:
        """From the origin's first byte to the edge cache. Whatever happens, the fill ends and nobody waits forever."""
        url = FillUrl(variant, self._sealer, self._reminting, self._now)
        try:
            await self._fetch_and_keep(fill, url, first)
        except OriginChanged as error:
            self._begin_again(fill, url.variant, error)
        except VaultError as error:
            fill.tried_key = url.key
            fill.failed(error)
            logger().warning(Events.FILL_FAILED, variant_id=variant.id, reason=str(error))
            await self._cool_downs.blame(url.variant, error, also_key=variant.origin_key)
        except asyncio.CancelledError:
            fill.failed(OriginUnavailable("the vault is stopping"))
            raise
        except Exception as error:
            fill.failed(OriginUnavailable(f"the fill broke: {type(error).__name__}"))
            logger().exception(Events.FILL_FAILED, variant_id=variant.id)
        finally:
            self._retire(fill)
            fill.leader_left()

    def _retire(self, fill: Fill) -> None:
        """Nobody joins this fill any more."""
        if self._running.get(fill.variant_id) is fill:
            del self._running[fill.variant_id]

    async def _fetch_and_keep(self, fill: Fill, url: FillUrl, first: Slice | None) -> None:
        means = (self._edge, self._client, self._turns, self._offloading, self._now, self._config)
        answers = FillAnswers(fill, url, *means, first)
        whole = await Leading(fill, answers, self._config, lambda: self._retire(fill)).run()
        if whole is None:
            fill.failed(OriginUnavailable("the fill was given up: nobody wanted it any more"))
            return
        staging, filled = whole
        fill.completed(filled)
        if not await fill.serve_adopters(staging.path, filled):
            staging.discard()
            return
        await self._keep(fill, staging, filled, url)

    async def _keep(self, fill: Fill, staging: Staging, filled: Filled, url: FillUrl) -> None:
        if self._running.get(fill.variant_id) is not fill:
            staging.discard()  # another one has begun since the variant was removed
            return
        copy = self._copy(fill, filled, url)
        if self._edge.has_room_for(copy):
            await self._offloading.run(self._edge.keep, staging, copy)
        else:  # what is evicted for it may be large, and its removal slow
            await asyncio.to_thread(self._edge.keep, staging, copy)
        # Whoever stored or removed the variant meanwhile has dropped its copy before there was one.
        variant = await variants.find_variant(self._catalog, fill.variant_id)
        over = {Status.STORED, Status.REMOVED}
        if variant is None or variant.status in over or _is_of_what_was_removed(fill, variant):
            self._edge.drop(fill.variant_id)

    def _copy(self, fill: Fill, filled: Filled, url: FillUrl) -> EdgeCopy:
        now, head = self._now(), fill.head
        return EdgeCopy(
            variant_id=fill.variant_id,
            version=fill.version,
            size_bytes=filled.size_bytes,
            sha256=filled.sha256,
            checksum=filled.checksum,
            content_type=filled.content_type,
            fetched_at=fill.began_at,  # what was removed meanwhile must not look younger than its removal
            fresh_until=now + self._config.fresh_ms,
            origin_etag=head.origin_etag if head else None,
            origin_last_modified=head.origin_last_modified if head else None,
            origin_identity=_digest(origin_expiry.identity(url.opened)),
        )

    def _begin_again(self, fill: Fill, variant: Variant, error: OriginChanged) -> None:
        """Viewers have bytes of another object and are cut off; who waits for all of it gets the new one."""
        logger().warning(Events.FILL_FAILED, variant_id=variant.id, reason=str(error))
        self._retire(fill)
        if fill.awaited and fill.restarts < _MOST_RESTARTS:
            # No cool-down stands in its way: the origin has just answered.
            successor = self._running.get(variant.id) or self._begun(variant, None)
            successor.want_whole()
            if fill.urgency.urgent:
                successor.urgency.hasten()
            fill.hand_over(successor)
        fill.failed(error)


def _is_of_what_was_removed(fill: Fill, variant: Variant) -> bool:
    """Whether the variant was removed, and perhaps seen again, after the fill had begun: that may be something else."""
    return variant.removed_at is not None and fill.began_at < variant.removed_at


def _digest(identity: str) -> str:
    """What tells two origin URLs apart and shows neither: edge copies are noted down in the clear."""
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()
