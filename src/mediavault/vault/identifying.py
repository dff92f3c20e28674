"""Items as the older paths show them: each variant with a public id and the source of its media."""

import hashlib
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from mediavault.catalog.database import Catalog
from mediavault.catalog.item_sources import first_sources
from mediavault.domain.derivation import NEVER
from mediavault.domain.media import MediaType
from mediavault.vault.reading import ItemView, VariantView


class OlderVariantView(VariantView, frozen=True, rename="camel"):
    """A variant with what the current paths leave out."""

    id: str
    source: str
    derived: bool


class OlderItemView(Struct, frozen=True, rename="camel"):
    """A media item of the older paths."""

    id: str
    type: MediaType
    duration: float | None
    media: dict[str, OlderVariantView]


class Identifying:
    """Adds what the older paths show to what the current ones do."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def identified(self, org_id: str, connection_id: str, items: Sequence[ItemView]) -> list[OlderItemView]:
        """The same items, at most 100, in the same order."""
        sources = await first_sources(self._catalog, org_id, connection_id, [item.id for item in items])
        return [_identified(connection_id, item, sources[item.id]) for item in items]


def _identified(connection_id: str, item: ItemView, source: str) -> OlderItemView:
    media = {
        label: OlderVariantView(
            **msgspec.structs.asdict(variant),
            id=public_id(connection_id, item.id, label),
            source=source,
            derived=variant.expires_at == NEVER,
        )
        for label, variant in item.media.items()
    }
    return OlderItemView(item.id, item.type, item.duration, media)


def public_id(connection_id: str, media_id: str, label: str) -> str:
    """Names a variant for as long as there is one, and tells nothing that its reader did not know."""
    named = "\0".join((connection_id, media_id, label)).encode()
    return "var_" + hashlib.sha256(named).hexdigest()[:24]
