"""Filling: at most one fetch of a variant at a time, whoever asks and however many.

A fill serves viewers while it runs, then the storers that wait for it, then becomes the edge cache's copy. Nobody who
leaves stops it. A failure is remembered with the variant, so that the origin is not asked again at every view.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from mediavault.catalog import variants
from mediavault.catalog.database import Catalog
from mediavault.catalog.identifiers import new_id
from mediavault.catalog.variants import Variant
from mediavault.domain import media_type, origin_expiry
from mediavault.domain.lifecycle import Status
from mediavault.domain.times import DAY, HOUR, SECOND, Now
from mediavault.edge.cache import EdgeCache
from mediavault.edge.copies import EdgeCopy
from mediavault.edge.staging import Staging
from mediavault.errors import (
    AddressDenied,
    CatalogError,
    LimitReached,
    OriginError,
    OriginRefused,
    OriginUnavailable,
    VaultError,
)
from mediavault.origin.client import GuardedClient, Response
from mediavault.origin.media_fetch import FetchedHead, fetch
from mediavault.telemetry import Events, logger
from mediavault.vault import origin_urls
from mediavault.vault.fill import Fill, Filled, FillHead
from mediavault.vault.sealing import Sealer

#: Enough to tell every type that is told by its magic bytes.
_SNIFFED_BYTES = 512


@dataclass(frozen=True)
class FillConfig:
    """How the origin is asked for media."""

    refused_cool_down_ms: int = HOUR  #: after 403, 404, a wrong type: unless a new URL is seen before
    unavailable_cool_down_ms: int = 5 * SECOND  #: after a timeout, a reset, a 5xx
    fresh_ms: int = 30 * DAY  #: how long an edge copy needs no revalidation: a media URL's bytes do not change
    largest_object_bytes: int = 64 << 30
    least_bytes_per_second: int = 1024  #: an origin that dribbles would hold a fill, and a storer, for days
    patience_seconds: float = 60  #: over which that rate is taken


class Filling:
    """The fills of this process."""

    def __init__(
        self, catalog: Catalog, edge: EdgeCache, client: GuardedClient, sealer: Sealer, now: Now, config: FillConfig
    ) -> None:
        self._catalog = catalog
        self._edge = edge
        self._client = client
        self._sealer = sealer
        self._now = now
        self._config = config
        self._running: dict[str, Fill] = {}
        self._leaders: set[asyncio.Task[None]] = set()

    def running(self, variant_id: str) -> Fill | None:
        """The variant's fill, if there is one that can still be joined."""
        return self._running.get(variant_id)

    def fill(self, variant: Variant) -> Fill:
        """Join the variant's fill, or start it."""
        fill = self._running.get(variant.id)
        if fill is None:
            fill = self._running[variant.id] = Fill(variant.id, new_id(self._now()))
            self._start(self._lead(fill, variant))
        return fill

    async def drain(self) -> None:
        """Stop what still runs: bytes that nobody has for good are fetched again."""
        leaders = list(self._leaders)
        for leader in leaders:
            leader.cancel()
        await asyncio.gather(*leaders, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._leaders.add(task)
        task.add_done_callback(self._leaders.discard)

    async def _lead(self, fill: Fill, variant: Variant) -> None:
        """From the origin's first byte to the edge cache. Whatever happens, the fill ends and nobody waits forever."""
        try:
            await self._fetch_and_keep(fill, variant)
        except VaultError as error:
            fill.failed(error)
            await self._blame(variant, error)
        except asyncio.CancelledError:
            fill.failed(OriginUnavailable("the vault is stopping"))
            raise
        except Exception as error:
            fill.failed(OriginUnavailable(f"the fill broke: {type(error).__name__}"))
            logger().exception(Events.FILL_FAILED, variant_id=variant.id)
        finally:
            self._running.pop(variant.id, None)
            fill.leader_left()

    async def _fetch_and_keep(self, fill: Fill, variant: Variant) -> None:
        url = origin_urls.open_url(self._sealer, variant)
        async with fetch(self._client, url) as (head, response):
            self._check_size(head.length or 0)
            staging = self._edge.stage(head.length)
            fill.opened(staging)
            try:
                fill_head = await self._receive(fill, staging, head, response)
            except BaseException:
                staging.discard()
                raise
        filled = Filled(staging.written, staging.digest(), fill_head.content_type, fill.version)
        fill.completed(filled)
        if not await fill.serve_adopters(staging.path, filled):
            staging.discard()
            return
        await asyncio.to_thread(self._edge.keep, staging, self._copy(fill, fill_head, filled, url))
        await self._forget_if_settled(variant.id)

    async def _forget_if_settled(self, variant_id: str) -> None:
        """Whoever stored or removed the variant meanwhile has dropped its copy before there was one."""
        variant = await variants.find_variant(self._catalog, variant_id)
        if variant is None or variant.status in {Status.STORED, Status.REMOVED}:
            self._edge.drop(variant_id)

    async def _receive(self, fill: Fill, staging: Staging, head: FetchedHead, response: Response) -> FillHead:
        async with aclosing(response.chunks()) as raw, aclosing(self._steady(raw)) as chunks:
            first = await first_bytes(chunks)
            if not first:
                raise OriginUnavailable("the origin sent an empty body")
            fill_head = FillHead(head.length, verified_content_type(first, head.content_type), head.etag)
            await asyncio.to_thread(staging.append, first)
            fill.started(fill_head)
            fill.advanced(staging.written)
            async for chunk in chunks:
                await asyncio.to_thread(staging.append, chunk)
                self._check_size(staging.written)
                fill.advanced(staging.written)
        if head.length is not None and staging.written != head.length:
            raise OriginUnavailable(f"the origin sent {staging.written} bytes and had announced {head.length}")
        return fill_head

    async def _steady(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """The same chunks, of an origin that keeps up. A silent one is cut off by the client's own timeout."""
        now = asyncio.get_running_loop().time
        received, since = 0, now()
        async for chunk in chunks:
            yield chunk
            received += len(chunk)
            elapsed = now() - since
            if elapsed >= self._config.patience_seconds:
                if received < elapsed * self._config.least_bytes_per_second:
                    raise OriginUnavailable(f"the origin dribbles: {received} bytes in {elapsed:.0f} s")
                received, since = 0, now()

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._config.largest_object_bytes:
            raise OriginRefused(f"the media is larger than {self._config.largest_object_bytes} bytes")

    def _copy(self, fill: Fill, head: FillHead, filled: Filled, url: str) -> EdgeCopy:
        now = self._now()
        return EdgeCopy(
            variant_id=fill.variant_id,
            version=fill.version,
            size_bytes=filled.size_bytes,
            sha256=filled.sha256,
            content_type=filled.content_type,
            fetched_at=now,
            fresh_until=now + self._config.fresh_ms,
            origin_etag=head.origin_etag,
            origin_last_modified=None,
            origin_identity=origin_expiry.identity(url),
        )

    async def _blame(self, variant: Variant, error: VaultError) -> None:
        """Remember an origin's failure. Our own disk's or database's is no fault of the origin."""
        logger().warning(Events.FILL_FAILED, variant_id=variant.id, reason=str(error))
        if not isinstance(error, OriginError) or isinstance(error, LimitReached):
            return
        lasting = isinstance(error, OriginRefused | AddressDenied)
        cool_down = self._config.refused_cool_down_ms if lasting else self._config.unavailable_cool_down_ms
        try:
            await self._catalog.run(
                variants.blame_origin, variant.id, variant.origin_key, str(error), self._now() + cool_down
            )
        except CatalogError:
            logger().exception(Events.FILL_FAILED, variant_id=variant.id)


async def first_bytes(chunks: AsyncIterator[bytes]) -> bytes:
    """Enough to tell the type by, or all there are."""
    first = b""
    async for chunk in chunks:
        first += chunk
        if len(first) >= _SNIFFED_BYTES:
            break
    return first


def verified_content_type(first: bytes, declared: str | None) -> str:
    """The type to serve, from the bytes before the origin's word. Raises OriginRefused for a page instead of media."""
    said, sniffed = media_type.canonical(declared), media_type.sniff(first)
    if sniffed is not None and not media_type.is_media(sniffed):
        raise OriginRefused(f"the origin sent {sniffed} instead of media")
    if sniffed is None:
        if media_type.is_generic(said):
            return "application/octet-stream"
        if media_type.family(said) is None or said == "image/svg+xml":
            raise OriginRefused(f"the origin sent {said[:60]} instead of media")
        return said
    return said if media_type.family(said) and media_type.agrees(said, sniffed) else sniffed
