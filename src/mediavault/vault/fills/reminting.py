"""Re-minting: a fresh origin URL for a variant whose URL no longer works, through the upstream, by media id.

The answer that showed the variant is asked for again; where it does not show it any more, the vault's media are walked
within a bound. Whoever needs the same answer shares it, and everything it shows is refreshed, not only what was asked.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from mediavault.catalog import connections, origin_refresh, variants
from mediavault.catalog.connections import ConnectionRow
from mediavault.catalog.database import Catalog
from mediavault.catalog.origin_refresh import LARGEST_LOOK, FreshOrigin, LiveOrigin
from mediavault.catalog.tables import ConnectionState
from mediavault.catalog.variants import Variant
from mediavault.domain import origin_expiry
from mediavault.domain.times import MINUTE, SECOND, Now
from mediavault.errors import (
    CatalogUnavailable,
    NotFound,
    OriginError,
    OriginExpired,
    SessionExpired,
    SessionNotProvided,
    TooManyRequests,
    UpstreamError,
)
from mediavault.origin import rewriting
from mediavault.origin.access_api import AccessApi
from mediavault.origin.rewriting import FoundMedia
from mediavault.telemetry import Events, logger
from mediavault.vault import origin_urls
from mediavault.vault.connecting import Connecting
from mediavault.vault.sealing import Sealer

_GATEWAY = "/v2/access/"
_VAULT_MEDIA = "/v2/access/vault/media"
_WALK = ""
_FAILURES = (SessionExpired, SessionNotProvided, TooManyRequests, UpstreamError, NotFound, OriginError)


@dataclass(frozen=True)
class RemintConfig:
    """How far a fresh URL is looked for."""

    most_walked: int = 2_000  #: media of the upstream's vault that are looked through
    longest_seconds: float = 60
    replay_again_ms: int = 5 * SECOND  #: an answer is not asked for again sooner
    walk_again_ms: int = MINUTE  #: nor are the media walked


@dataclass
class _Look:
    """An upstream answer, or a walk of them, that several may wait for."""

    wanted: set[str]  #: media ids
    shown: set[str] = field(default_factory=set)
    is_whole: bool = True  #: nothing of it was left out, as a walk does that has found what was wanted
    error: OriginExpired | None = None
    ended_at: int | None = None  #: Unix ms
    task: asyncio.Task[None] | None = None


class Reminting:
    """Fresh URLs for the fills of this process."""

    _MOST_REMEMBERED = 1_000

    def __init__(
        self,
        catalog: Catalog,
        connecting: Connecting,
        access_api: AccessApi,
        sealer: Sealer,
        now: Now,
        config: RemintConfig,
    ) -> None:
        self._catalog = catalog
        self._connecting = connecting
        self._access_api = access_api
        self._sealer = sealer
        self._now = now
        self._config = config
        self._looks: OrderedDict[tuple[str, str], _Look] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    async def fresh(self, variant: Variant, reason: str) -> Variant:
        """The variant with the URL that the upstream shows now, which may be the same.

        Raises OriginExpired, with the reason and why there is no fresh URL; CatalogError.
        """
        origin = await origin_refresh.find_origin(self._catalog, variant.id)
        if origin is None:
            raise OriginExpired(f"{reason}; the media was removed")
        if origin.key == variant.origin_key:
            try:
                async with asyncio.timeout(self._config.longest_seconds):
                    await self._look_for(variant, origin.observed_path)
            except TimeoutError:
                raise OriginExpired(f"{reason}; the upstream does not show the media in time") from None
            except OriginExpired as error:
                raise OriginExpired(f"{reason}; {error}") from error
        fresh = await variants.find_variant(self._catalog, variant.id)
        if fresh is None:
            raise OriginExpired(f"{reason}; its connection is gone")
        return fresh

    async def drain(self) -> None:
        """Stop what still looks."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_for(self, variant: Variant, observed_path: str) -> None:
        connection = await connections.find_connection(self._catalog, variant.org_id, variant.connection_id)
        if connection is None:
            raise OriginExpired("its connection is gone")
        if connection.state != ConnectionState.ACTIVE.value:
            raise OriginExpired("the session of its connection is no longer valid: import it again")

        def replay(look: _Look) -> Coroutine[Any, Any, None]:
            return self._replay(connection, observed_path, look)

        def walk(look: _Look) -> Coroutine[Any, Any, None]:
            return self._walk(connection, look)

        again_ms = self._config.replay_again_ms
        if observed_path.startswith(_GATEWAY) and await self._shown(variant, observed_path, again_ms, replay):
            return
        if not await self._shown(variant, _WALK, self._config.walk_again_ms, walk):
            raise OriginExpired("the upstream does not show the media any more")

    async def _shown(
        self, variant: Variant, target: str, again_ms: int, work: Callable[[_Look], Coroutine[Any, Any, None]]
    ) -> bool:
        """Whether an answer shows the media; the one that runs or has just ended is as good as another."""
        key = (variant.connection_id, target)
        look = self._looks.get(key)
        if look is None or not self._is_good(look, variant.media_id, again_ms):
            look = self._looks[key] = _Look({variant.media_id})
            look.task = asyncio.create_task(self._carry_out(look, work(look)))
            self._tasks.add(look.task)
            look.task.add_done_callback(self._tasks.discard)
            while len(self._looks) > self._MOST_REMEMBERED:
                self._looks.popitem(last=False)
        look.wanted.add(variant.media_id)
        if look.task is not None:
            await asyncio.wait({look.task})
            if look.task.cancelled():
                raise CatalogUnavailable("the vault is stopping")
            look.task.result()
        if look.error is not None:
            raise OriginExpired(str(look.error))
        return variant.media_id in look.shown

    def _is_good(self, look: _Look, media_id: str, again_ms: int) -> bool:
        """Whether it runs, or ended a moment ago and tells of this media item."""
        if look.ended_at is None:
            return look.task is not None and not look.task.done()
        after_ms = again_ms if look.error is None else self._config.replay_again_ms
        return self._now() - look.ended_at < after_ms and (look.is_whole or media_id in look.shown)

    async def _carry_out(self, look: _Look, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except OriginExpired as error:
            look.error = error
        look.ended_at = self._now()

    async def _replay(self, connection: ConnectionRow, target: str, look: _Look) -> None:
        upstream = self._connecting.upstream(connection)
        try:
            answer = await self._access_api.call(upstream, "GET", target, headers={"Accept": "application/json"})
        except _FAILURES as error:
            raise await self._refused(connection, error) from error
        if answer.status == 429 or answer.status >= 500:
            raise OriginExpired(f"the upstream answered {answer.status}")
        if answer.status == 200 and answer.is_json:
            try:
                found = await asyncio.to_thread(lambda: _media_of(rewriting.decode(answer.body)))
            except UpstreamError as error:
                raise await self._refused(connection, error) from error
            await self._record(connection, found, target, look)

    async def _walk(self, connection: ConnectionRow, look: _Look) -> None:
        upstream, walked = self._connecting.upstream(connection), 0
        pages = self._access_api.pages(upstream, _VAULT_MEDIA, most_entries=2 * self._config.most_walked)
        try:
            async for page in pages:
                await self._record(connection, await asyncio.to_thread(_media_of, page.entries), page.target, look)
                walked += len(page.entries)
                if walked >= self._config.most_walked:
                    return
                if look.wanted <= look.shown:
                    look.is_whole = False
                    return
        except _FAILURES as error:
            raise await self._refused(connection, error) from error
        finally:
            await pages.aclose()

    async def _refused(self, connection: ConnectionRow, error: Exception) -> OriginExpired:
        if isinstance(error, SessionExpired):
            await self._connecting.refused(connection)
        return OriginExpired(f"the upstream gives no fresh URL: {error}")

    async def _record(self, connection: ConnectionRow, found: list[FoundMedia], target: str, look: _Look) -> None:
        """Refresh every live variant that is shown with another URL than the catalog has."""
        by_id = {item.media_id: item for item in reversed(found) if item.media_id is not None and item.urls}
        ids, now, refreshed = list(by_id), self._now(), 0
        for start in range(0, len(ids), LARGEST_LOOK):
            known = await origin_refresh.live(
                self._catalog, connection.org_id, connection.id, ids[start : start + LARGEST_LOOK]
            )
            fresh = await asyncio.to_thread(self._fresh, connection, known, by_id, target, now)
            if fresh:
                await self._catalog.run(origin_refresh.refresh, fresh, now)
            refreshed += len(fresh)
        look.shown.update(ids)
        logger().info(Events.ORIGIN_REFRESHED, connection_id=connection.id, shown=len(ids), refreshed=refreshed)

    def _fresh(
        self, connection: ConnectionRow, known: list[LiveOrigin], by_id: dict[str, FoundMedia], target: str, now: int
    ) -> list[FreshOrigin]:
        fresh = []
        for origin in known:
            urls = [place.url for place in by_id[origin.media_id].urls if place.label == origin.label]
            key = origin_urls.key_of(urls[0]) if urls else origin.key
            if key != origin.key:
                place = origin_urls.place(connection.org_id, connection.id, origin.media_id, origin.label)
                sealed, expires_at = self._sealer.seal(urls[0].encode(), place), origin_expiry.expires_at(urls[0], now)
                fresh.append(FreshOrigin(origin.variant_id, origin.key, sealed, key, expires_at, target))
        return fresh


def _media_of(document: Any) -> list[FoundMedia]:
    return list(rewriting.media_in(document))
