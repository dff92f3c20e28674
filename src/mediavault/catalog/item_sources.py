"""Where media items were seen, for the older paths that show it on each variant."""

from collections.abc import Sequence

from sqlalchemy import bindparam, select

from mediavault.catalog.database import Catalog
from mediavault.catalog.items import LARGEST_BATCH
from mediavault.catalog.tables import media

_IDS = [f"m{position}" for position in range(LARGEST_BATCH)]
_SOURCES = select(media.c.media_id, media.c.sources).where(
    media.c.org_id == bindparam("org_id"),
    media.c.connection_id == bindparam("connection_id"),
    media.c.media_id.in_([bindparam(name) for name in _IDS]),
)


async def first_sources(catalog: Catalog, org_id: str, connection_id: str, media_ids: Sequence[str]) -> dict[str, str]:
    """The source each of at most 100 items was seen in first, by media id."""
    if not media_ids:
        return {}
    padded = [*media_ids, *[media_ids[-1]] * (LARGEST_BATCH - len(media_ids))]
    values = {"org_id": org_id, "connection_id": connection_id, **dict(zip(_IDS, padded, strict=True))}
    rows = await catalog.fetch_list(_SOURCES, values)
    return {media_id: sources.partition(",")[0] for media_id, sources in rows}
