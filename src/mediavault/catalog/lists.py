"""Lists: which of a connection's upstream lists are cached, and what is in them. Reads for the API."""

from dataclasses import dataclass

from sqlalchemy import bindparam, case, func, select

from mediavault.catalog.database import Catalog
from mediavault.catalog.tables import list_items, lists, media


@dataclass(frozen=True, slots=True)
class ListRow:
    """A cached list with its counts."""

    pk: str
    list_id: str
    name: str | None
    type: str | None
    baseline_at: int | None
    last_synced_at: int | None
    last_added_at: int | None
    created_at: int
    item_count: int  #: media known to be in it
    baseline_count: int  #: those of its last sync
    cached_count: int  #: those with a live variant


@dataclass(frozen=True, slots=True)
class ListItemRow:
    """A media item's membership of a list."""

    media_pk: str
    media_id: str
    type: str  #: as shown; the rollup
    duration: float | None
    status_mask: int
    first_added_at: int
    last_added_at: int
    last_seen_at: int
    last_synced_at: int | None


_OWN = ("id", "list_id", "name", "type", "baseline_at", "last_synced_at", "last_added_at", "created_at")
_LISTS = (
    select(
        *(lists.c[name] for name in _OWN),
        func.count(list_items.c.media_pk),
        func.coalesce(func.sum(case((list_items.c.in_baseline.is_(True), 1), else_=0)), 0),
        func.coalesce(func.sum(case((media.c.status_mask != 0, 1), else_=0)), 0),
    )
    .select_from(
        lists.outerjoin(list_items, list_items.c.list_pk == lists.c.id).outerjoin(
            media, media.c.id == list_items.c.media_pk
        )
    )
    .where(lists.c.org_id == bindparam("org_id"), lists.c.connection_id == bindparam("connection_id"))
    .group_by(*(lists.c[name] for name in _OWN))
)
_ALL = _LISTS.order_by(lists.c.created_at, lists.c.id).limit(bindparam("at_most")).offset(bindparam("offset"))
_HEAD = select(lists.c.id).where(
    lists.c.org_id == bindparam("org_id"),
    lists.c.connection_id == bindparam("connection_id"),
    lists.c.list_id == bindparam("list_id"),
)
_ITEMS = (
    select(
        list_items.c.media_pk,
        media.c.media_id,
        media.c.shown_type,
        media.c.duration,
        media.c.status_mask,
        list_items.c.first_added_at,
        list_items.c.last_added_at,
        list_items.c.last_seen_at,
        list_items.c.last_synced_at,
    )
    .join_from(list_items, media, media.c.id == list_items.c.media_pk)
    .where(
        list_items.c.org_id == bindparam("org_id"),
        list_items.c.list_pk == bindparam("list_pk"),
        list_items.c.media_pk > bindparam("after"),
    )
    .order_by(list_items.c.media_pk)
    .limit(bindparam("at_most"))
)


async def cached_lists(catalog: Catalog, org_id: str, connection_id: str, limit: int, offset: int) -> list[ListRow]:
    """A connection's cached lists in the order in which they came to be cached."""
    values = {"org_id": org_id, "connection_id": connection_id, "at_most": limit, "offset": offset}
    rows = await catalog.fetch_list(_ALL, values)
    return [ListRow(*row[:8], *(int(count) for count in row[8:])) for row in rows]


async def find_list(catalog: Catalog, org_id: str, connection_id: str, list_id: str) -> str | None:
    """The row id of a cached list."""
    values = {"org_id": org_id, "connection_id": connection_id, "list_id": list_id}
    rows = await catalog.fetch(_HEAD, values)
    return str(rows[0][0]) if rows else None


async def items_of(catalog: Catalog, org_id: str, list_pk: str, after: str, limit: int) -> list[ListItemRow]:
    """The media in a list, in the order in which they came to be known, behind the media row id `after`."""
    values = {"org_id": org_id, "list_pk": list_pk, "after": after, "at_most": limit}
    return [ListItemRow(*row) for row in await catalog.fetch_list(_ITEMS, values)]
