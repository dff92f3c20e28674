"""Reading items and totals, in the contract's shapes (seed: the item; contract.md, "Vault+ media" and "stats")."""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct, json

from mediavault.catalog import items
from mediavault.catalog.connections import ConnectionRow
from mediavault.catalog.database import Catalog
from mediavault.catalog.items import LARGEST_BATCH, ItemRow
from mediavault.catalog.remembering import Remembered
from mediavault.domain.media import MediaType, is_media_id, overall_type
from mediavault.domain.settings import VaultSettings
from mediavault.domain.signed_url import UrlSigner, rounded_expiry
from mediavault.domain.times import Now
from mediavault.errors import ConnectionUnknown, InvalidRequest, MediaNotFound
from mediavault.vault.configuring import effective_settings
from mediavault.vault.connecting import is_connection_id


class VariantView(Struct, frozen=True, rename="camel"):
    """One stored or observed version of a media item. No internal id."""

    status: str
    quality: str
    size_bytes: int
    content_type: str
    access_count: int
    created_at: int
    expires_at: int
    stored_at: int | None
    last_accessed_at: int
    url: str


class ItemView(Struct, frozen=True, rename="camel"):
    """A media item with its variants by label."""

    id: str
    type: MediaType
    duration: float | None
    media: dict[str, VariantView]


class ConnectionTotals(Struct, frozen=True, rename="camel"):
    """`GET /v2/vault-plus/status`; counts are of variants."""

    connection_id: str
    stored_count: int
    pending_count: int
    total_size_bytes: int


class OrganisationTotals(Struct, frozen=True, rename="camel"):
    """`GET /v2/vault-plus/stats`; `totalMediaCount` counts variants."""

    total_connections: int
    connections_with_vault_plus: int
    total_storage_bytes: int
    total_media_count: int


@dataclass(frozen=True, slots=True)
class _Told:
    """An item as it was told, and what its URLs were signed with."""

    content: bytes
    ttl_seconds: int
    expiry: int
    generation: int


class Reading:
    """Answers questions about what the vault has."""

    def __init__(self, catalog: Catalog, signer: UrlSigner, now: Now) -> None:
        self._catalog = catalog
        self._signer = signer
        self._now = now
        self._told: Remembered[tuple[str, str, str], _Told] = Remembered(catalog)

    async def item_json(self, org_id: str, connection_id: str, media_id: str) -> bytes:
        """`item` as it is sent: the same bytes while nothing is committed and its URLs would be signed alike.

        Raises ConnectionUnknown, MediaNotFound.
        """
        asked, now, generation = (org_id, connection_id, media_id), self._now(), self._signer.generation
        told = self._told.find(asked)
        if told and told.generation == generation and told.expiry == rounded_expiry(now, told.ttl_seconds):
            return told.content
        as_of = self._told.now
        row, settings = await self._found(org_id, connection_id, media_id)
        content = json.encode(self._view(row, settings, now))
        ttl_seconds = settings.presigned_url_ttl_seconds
        told = _Told(content, ttl_seconds, rounded_expiry(now, ttl_seconds), generation)
        self._told.keep(as_of, asked, told, len(content))
        return content

    async def item(self, org_id: str, connection_id: str, media_id: str) -> ItemView:
        """One item, by one query. Raises ConnectionUnknown, MediaNotFound."""
        row, settings = await self._found(org_id, connection_id, media_id)
        return self._view(row, settings, self._now())

    async def _found(self, org_id: str, connection_id: str, media_id: str) -> tuple[ItemRow, VaultSettings]:
        if not is_connection_id(connection_id):
            raise ConnectionUnknown
        askable = media_id if is_media_id(media_id) else ""
        found = await items.connection_and_item(self._catalog, org_id, connection_id, askable)
        if found is None:
            raise ConnectionUnknown
        settings, row = found
        if row is None:
            raise MediaNotFound
        return row, effective_settings(settings.organisation, settings.overrides)

    async def batch(self, connection: ConnectionRow, media_ids: Sequence[str]) -> list[ItemView]:
        """The items there are, in the order asked; an id asked twice comes once. Raises InvalidRequest."""
        if len(media_ids) > LARGEST_BATCH:
            raise InvalidRequest(f"mediaIds holds more than {LARGEST_BATCH} ids")
        for media_id in media_ids:
            if not is_media_id(media_id):
                raise InvalidRequest("mediaIds holds something that is not a media id")
        if not media_ids:
            return []
        found = await items.items(self._catalog, connection.org_id, connection.id, media_ids)
        return self.views(connection, [found[media_id] for media_id in dict.fromkeys(media_ids) if media_id in found])

    def views(self, connection: ConnectionRow, rows: Sequence[ItemRow]) -> list[ItemView]:
        """Items of one connection as they are shown, with URLs signed now."""
        settings = effective_settings(connection.organisation_settings, connection.settings_overrides)
        now = self._now()
        return [self._view(row, settings, now) for row in rows]

    async def connection_totals(self, connection: ConnectionRow) -> ConnectionTotals:
        """Counts of one connection; pending is known minus stored."""
        known, stored, stored_bytes = await items.connection_totals(self._catalog, connection.org_id, connection.id)
        return ConnectionTotals(connection.id, stored, known - stored, stored_bytes)

    async def organisation_totals(self, org_id: str) -> OrganisationTotals:
        """Counts of an organisation."""
        return OrganisationTotals(*await items.organisation_totals(self._catalog, org_id))

    def _view(self, row: ItemRow, settings: VaultSettings, now: int) -> ItemView:
        ttl_seconds = settings.presigned_url_ttl_seconds
        sign = self._signer.sign_variant
        item_type = overall_type([variant.content_type for variant in row.variants], MediaType(row.type))
        return ItemView(
            id=row.media_id,
            type=item_type,
            duration=None if item_type is MediaType.IMAGE else row.duration,
            media={
                variant.label: VariantView(
                    status=variant.status,
                    quality=variant.label,
                    size_bytes=variant.size_bytes,
                    content_type=variant.content_type,
                    access_count=variant.access_count,
                    created_at=variant.created_at,
                    expires_at=variant.expires_at,
                    stored_at=variant.stored_at,
                    last_accessed_at=variant.last_accessed_at,
                    url=sign(variant.id, ttl_seconds=ttl_seconds, now=now),
                )
                for variant in row.variants
            },
        )
