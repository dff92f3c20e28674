"""Removing media: the rows at once, the bytes when the undo window has passed."""

from dataclasses import dataclass

from mediavault.catalog import removals
from mediavault.catalog.database import Catalog
from mediavault.domain.media import check_media_id
from mediavault.domain.times import Now
from mediavault.edge.cache import EdgeCache
from mediavault.errors import MediaNotFound


@dataclass(frozen=True)
class Purged:
    """What a purge took away."""

    variants: int
    freed_bytes: int


class Removing:
    """Removes items and whole connections."""

    def __init__(self, catalog: Catalog, edge: EdgeCache, now: Now) -> None:
        self._catalog = catalog
        self._edge = edge
        self._now = now

    async def remove(self, org_id: str, connection_id: str, media_id: str) -> int:
        """Remove every variant of an item; the bytes that frees. Raises MediaNotFound."""
        removed = await self._catalog.run(
            removals.remove_item, org_id, connection_id, check_media_id(media_id), "deleted", self._now()
        )
        if not removed.variant_ids:
            raise MediaNotFound
        self._forget_copies(removed)
        return removed.freed_bytes

    async def purge(self, org_id: str, connection_id: str, reason: str) -> Purged:
        """Remove every variant of a connection, a batch a transaction."""
        variants = freed_bytes = 0
        while True:
            removed = await self._catalog.run(removals.remove_some, org_id, connection_id, reason, self._now())
            if not removed.variant_ids:
                return Purged(variants, freed_bytes)
            self._forget_copies(removed)
            variants += len(removed.variant_ids)
            freed_bytes += removed.freed_bytes

    def _forget_copies(self, removed: removals.Removed) -> None:
        for variant_id in removed.variant_ids:
            self._edge.drop(variant_id)
