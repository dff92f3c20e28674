"""Where media items were seen, for the older paths that show it on each variant."""

from collections.abc import Sequence

from sqlalchemy import bindparam, select

from mediavault.catalog.database import Catalog
from mediavault.catalog.padding import is_among, padded
from mediavault.catalog.tables import media

_SOURCES = select(media.c.media_id, media.c.sources).where(
    media.c.org_id == bindparam("org_id"),
    media.c.connection_id == bindparam("connection_id"),
    is_among(media.c.media_id),
)


async def first_sources(catalog: Catalog, org_id: str, connection_id: str, media_ids: Sequence[str]) -> dict[str, str]:
    """The source each of at most 100 items was seen in first, by media id."""
    if not media_ids:
        return {}
    values = {"org_id": org_id, "connection_id": connection_id, **padded(media_ids)}
    rows = await catalog.fetch_list(_SOURCES, values)
    return {media_id: sources.partition(",")[0] for media_id, sources in rows}
