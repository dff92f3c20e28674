"""Observing: what media an upstream's answer shows, recorded before the answer goes on, its URLs replaced by ours."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from mediavault.catalog import observations
from mediavault.catalog.connections import ConnectionRow
from mediavault.catalog.database import Catalog
from mediavault.catalog.known_media import VariantIds
from mediavault.catalog.seen import SeenMedia, SeenVariant
from mediavault.domain import media_type, origin_expiry
from mediavault.domain.media import MediaType
from mediavault.domain.signed_url import UrlSigner
from mediavault.domain.times import Now
from mediavault.origin import rewriting
from mediavault.origin.rewriting import FoundMedia
from mediavault.vault import origin_urls
from mediavault.vault.configuring import effective_settings
from mediavault.vault.sealing import Sealer

P = ParamSpec("P")
T = TypeVar("T")

#: Smaller answers are read on the event loop: a thread hop costs more.
_INLINE_BYTES = 4 * 1024
#: In a thread the interpreter is let go after so many media, about a millisecond of work.
_ITEMS_A_BREATH = 8
_BREATH_SECONDS = 0.000_1
_POSTER_LABELS = frozenset({"thumb", "squarePreview"})


@dataclass
class _Read:
    """An answer, taken apart."""

    document: Any
    found: list[FoundMedia]
    seen: list[SeenMedia]


class Observing:
    """Turns upstream answers into observations and answers of our own."""

    def __init__(self, catalog: Catalog, sealer: Sealer, signer: UrlSigner, now: Now) -> None:
        self._catalog = catalog
        self._sealer = sealer
        self._signer = signer
        self._now = now
        self._thread = asyncio.Semaphore(1)  # one big answer at a time: more threads would only starve the loop

    async def observe(self, connection: ConnectionRow, target: str, body: bytes) -> bytes:
        """The body with every media URL on the media host; its variants are recorded when this returns.

        `target` is the path and query that gave the answer. A body without media comes back untouched.
        Raises UpstreamError for what is not JSON.
        """
        now = self._now()
        read = await self._off_loop(body, self._read, connection, target, body, now)
        if not read.found:
            return body
        ids: VariantIds = {}
        if read.seen:
            ids = await self._catalog.run(observations.observe, connection.org_id, connection.id, read.seen, now)
        return await self._off_loop(body, self._write, connection, read, ids, now)

    async def _off_loop(self, body: bytes, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if len(body) <= _INLINE_BYTES:
            return work(*args, **kwargs)
        async with self._thread:
            return await asyncio.to_thread(work, *args, **kwargs)

    def _read(self, connection: ConnectionRow, target: str, body: bytes, now: int) -> _Read:
        document = rewriting.decode(body)
        found = [item for item in _letting_others_run(rewriting.media_in(document)) if item.urls]
        seen = []
        if connection.vault_plus_enabled:
            source = rewriting.source_of_path(target)
            for item in _letting_others_run(found):
                if item.media_id is not None:
                    variants = seen_variants(self._sealer, connection, item.media_id, item, now)
                    seen.append(
                        SeenMedia(item.media_id, item.type.value, item.duration, source.value, target, variants)
                    )
        return _Read(document, found, seen)

    def _write(self, connection: ConnectionRow, read: _Read, ids: VariantIds, now: int) -> bytes:
        settings = effective_settings(connection.organisation_settings, connection.settings_overrides)
        ttl_seconds = settings.presigned_url_ttl_seconds
        for item in _letting_others_run(read.found):
            for place in item.urls:
                variant_id = ids.get((item.media_id or "", place.label or ""))
                if variant_id is not None:
                    url = self._signer.sign_variant(variant_id, ttl_seconds=ttl_seconds, now=now)
                else:
                    sealed = self._sealer.seal_direct(place.url, connection.org_id, connection.id)
                    url = self._signer.sign_direct(sealed, ttl_seconds=ttl_seconds, now=now)
                place.holder[place.key] = url
        return rewriting.encode(read.document)


def urls_by_label(item: FoundMedia) -> dict[str, str]:
    """An item's URLs, in the order of their labels; the first of a label counts."""
    first_of_label = {place.label: place.url for place in reversed(item.urls) if place.label is not None}
    return dict(sorted(first_of_label.items()))


def seen_variants(
    sealer: Sealer, connection: ConnectionRow, media_id: str, item: FoundMedia, now: int
) -> tuple[SeenVariant, ...]:
    """What the catalog records of an item's URLs, which are sealed for their place."""
    return tuple(
        SeenVariant(
            label=label,
            origin_url=sealer.seal(url.encode(), origin_urls.place(connection.org_id, connection.id, media_id, label)),
            origin_key=origin_urls.key_of(url),
            origin_expires_at=origin_expiry.expires_at(url, now),
            content_type=guessed_content_type(url, item.type, label),
        )
        for label, url in urls_by_label(item).items()
    )


def guessed_content_type(url: str, item_type: MediaType, label: str) -> str:
    """What a variant probably is before any byte was seen: by the URL's extension, else the type's default."""
    by_extension = media_type.by_extension(url.partition("?")[0])
    if by_extension is not None:
        return by_extension
    return media_type.DEFAULT_BY_TYPE[MediaType.IMAGE if label in _POSTER_LABELS else item_type]


def _letting_others_run(found: Iterable[FoundMedia]) -> Iterator[FoundMedia]:
    """The same, with a breath now and then: else the event loop waits a switch interval each time it wants to run."""
    for number, item in enumerate(found, start=1):
        if number % _ITEMS_A_BREATH == 0:
            time.sleep(_BREATH_SECONDS)
        yield item
