"""Reading a list upstream: every page, as what the catalog records, what policy wants of it, and a fingerprint."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mediavault.catalog.connections import ConnectionRow
from mediavault.catalog.list_changes import Naming
from mediavault.catalog.list_state import Listed
from mediavault.catalog.seen import SeenMedia
from mediavault.domain.list_sync import fingerprint
from mediavault.domain.media import MediaType, Source, is_media_id
from mediavault.domain.policy import Facts, unsuitable
from mediavault.domain.settings import VaultSettings
from mediavault.domain.times import Now
from mediavault.errors import NotFound, SessionExpired, TooManyRequests, UpstreamError
from mediavault.origin import rewriting
from mediavault.origin.access_api import AccessApi, Page, Upstream
from mediavault.vault.configuring import effective_settings
from mediavault.vault.connecting import Connecting
from mediavault.vault.observing import seen_variants, urls_by_label
from mediavault.vault.sealing import Sealer

_LISTS = "/v2/access/vault/lists"
#: A creator has some dozens of lists; the name and the estimate are not worth reading more.
_MOST_LISTS = 2_000
_COUNTS = ("photosCount", "videosCount", "gifsCount", "audiosCount")
_LONGEST_NAME = 500


@dataclass
class Reading:
    """A list, read whole."""

    listed: dict[str, Listed] = field(default_factory=dict)  #: by media id
    pages: int = 0


@dataclass(frozen=True)
class Described:
    """What the upstream's own list of lists says of one."""

    naming: Naming = field(default_factory=Naming)
    estimated_items: int | None = None


class ListReader:
    """Reads lists of connections' upstreams."""

    def __init__(self, connecting: Connecting, access_api: AccessApi, sealer: Sealer, now: Now) -> None:
        self._connecting = connecting
        self._access_api = access_api
        self._sealer = sealer
        self._now = now

    async def read(self, connection: ConnectionRow, list_id: str, most_media: int) -> Reading:
        """The whole list, or an error: never a part of it.

        Raises NotFound, SessionExpired, SessionNotProvided, TooManyRequests, UpstreamError, AddressDenied.
        """
        upstream, reading = self._connecting.upstream(connection), Reading()
        try:
            async for page in self._access_api.pages(upstream, f"{_LISTS}/{list_id}/media", most_entries=most_media):
                # A media item that moves while the list is read is shown twice; the later sight is the fresher one.
                reading.listed |= await asyncio.to_thread(self._listed, connection, page)
                reading.pages += 1
        except SessionExpired:
            await self._connecting.refused(connection)
            raise
        except NotFound:
            raise NotFound("List not found") from None
        return reading

    async def described(self, connection: ConnectionRow, list_id: str) -> Described:
        """Name, type and size by the upstream's word; nothing where it does not tell. Raises as `read` otherwise."""
        upstream = self._connecting.upstream(connection)
        try:
            async for page in self._access_api.pages(upstream, _LISTS, most_entries=_MOST_LISTS):
                for entry in page.entries:
                    if isinstance(entry, dict) and str(entry.get("id")) == list_id:
                        return _described(entry)
        except SessionExpired:
            await self._connecting.refused(connection)
            raise
        except (NotFound, TooManyRequests, UpstreamError):
            pass  # a name is not worth the sync
        return Described()

    async def check(self, connection: ConnectionRow, list_id: str) -> None:
        """Raises NotFound where the upstream has no such list, and as `read`."""
        upstream: Upstream = self._connecting.upstream(connection)
        try:
            await self._access_api.page(upstream, f"{_LISTS}/{list_id}/media", 1, 0)
        except SessionExpired:
            await self._connecting.refused(connection)
            raise
        except NotFound:
            raise NotFound("List not found") from None

    def _listed(self, connection: ConnectionRow, page: Page) -> dict[str, Listed]:
        settings = effective_settings(connection.organisation_settings, connection.settings_overrides)
        now = self._now()
        return {item.media_id: item for item in self._items(connection, page, settings, now)}

    def _items(self, connection: ConnectionRow, page: Page, settings: VaultSettings, now: int) -> Iterator[Listed]:
        for node in page.entries:
            media_id = _media_id(node)
            if media_id is None:
                continue
            found = next(rewriting.media_in([{**node, "id": media_id}]), None)
            urls = urls_by_label(found) if found is not None else {}
            if found is None or found.media_id != media_id or not urls:
                yield Listed(media_id, None, None)
                continue
            wanted = frozenset(label for label in urls if _is_wanted(settings, found.type, label))
            variants = seen_variants(self._sealer, connection, media_id, found, now)
            seen = SeenMedia(media_id, found.type.value, found.duration, Source.VAULT.value, page.target, variants)
            yield Listed(media_id, fingerprint(node, urls.items()), seen, wanted)


def _media_id(node: Any) -> str | None:
    given = node.get("id") if isinstance(node, dict) else None
    if isinstance(given, bool) or not isinstance(given, int | str):
        return None
    text = str(given)
    return text if is_media_id(text) else None


def _is_wanted(settings: VaultSettings, item_type: MediaType, label: str) -> bool:
    """A list that is added or synced is a person's wish: policy's types and qualities hold, its sources do not."""
    return unsuitable(settings, Facts(item_type, label, (Source.VAULT,), 0)) is None


def _described(entry: dict[str, Any]) -> Described:
    counts = [entry[name] for name in _COUNTS if isinstance(entry.get(name), int) and 0 <= entry[name] < 10**9]
    return Described(Naming(_text(entry.get("name")), _text(entry.get("type"))), sum(counts) if counts else None)


def _text(given: Any) -> str | None:
    if not isinstance(given, str):
        return None
    return "".join(character if character.isprintable() else "\ufffd" for character in given[:_LONGEST_NAME])
