"""Undo: bringing back what was removed, while its bytes are retained."""

from dataclasses import dataclass

from mediavault.catalog import restoring
from mediavault.catalog.connections import ConnectionRow
from mediavault.catalog.database import Catalog
from mediavault.domain.media import check_media_id
from mediavault.domain.times import Now
from mediavault.edge.cache import EdgeCache
from mediavault.errors import Conflict, LimitReached
from mediavault.vault.configuring import effective_settings


@dataclass(frozen=True)
class Restored:
    """What came back."""

    variants: int
    size_bytes: int


class Restoring:
    """Restores items within the undo window. A connection that was imported anew has nothing of the old one's."""

    def __init__(self, catalog: Catalog, edge: EdgeCache, now: Now, undo_window_ms: int) -> None:
        self._catalog = catalog
        self._edge = edge
        self._now = now
        self._undo_window_ms = undo_window_ms

    async def restore(self, connection: ConnectionRow, media_id: str) -> Restored:
        """Bring back an item's variants. Raises MediaNotFound when none can be, Conflict when there is no room."""
        now = self._now()
        try:
            restored = await self._catalog.run(
                restoring.restore_item,
                connection.org_id,
                connection.id,
                check_media_id(media_id),
                now - self._undo_window_ms,
                effective_settings,
                now,
            )
        except LimitReached as error:
            raise Conflict(str(error)) from None
        for variant_id in restored.evicted.variant_ids:
            self._edge.drop(variant_id)
        return Restored(restored.count, restored.size_bytes)
