"""What is cached of a creator's lists: answered from the catalog alone."""

from collections.abc import Sequence

from msgspec import UNSET, Struct, UnsetType

from mediavault.catalog import lists
from mediavault.catalog.connections import ConnectionRow
from mediavault.catalog.database import Catalog
from mediavault.catalog.lists import ListItemRow, ListRow
from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType
from mediavault.domain.times import iso8601
from mediavault.errors import InvalidRequest, NotFound
from mediavault.vault.reading import ItemView, Reading, VariantView


class ListView(Struct, frozen=True, rename="camel"):
    """A cached list."""

    id: str
    name: str | None
    type: str | None
    item_count: int
    cached_count: int
    baseline_count: int
    created_at: str
    last_added_at: str | None
    last_synced_at: str | None


class ListsPage(Struct, frozen=True, rename="camel"):
    """`GET /v2/vault-plus/lists`."""

    list: list[ListView]
    has_more: bool


class ListItemView(Struct, frozen=True, rename="camel"):
    """A media item's membership of a list, with the item."""

    media_id: str
    of_media_id: str
    status: Status
    type: MediaType
    duration: float | None
    first_added_at: str
    last_added_at: str
    last_seen_at: str
    last_synced_at: str | None
    media: dict[str, VariantView]


class ListMediaPage(Struct, frozen=True, rename="camel"):
    """`GET /v2/vault-plus/lists/{listId}/media`; no `nextCursor` on the last page."""

    items: list[ListItemView]
    next_cursor: str | UnsetType = UNSET


class ListContents:
    """Answers questions about cached lists."""

    def __init__(self, catalog: Catalog, reading: Reading) -> None:
        self._catalog = catalog
        self._reading = reading

    async def lists(self, connection: ConnectionRow, limit: int, offset: int) -> ListsPage:
        """The cached lists in the order in which they came to be cached."""
        rows = await lists.cached_lists(self._catalog, connection.org_id, connection.id, limit + 1, offset)
        return ListsPage([_list_view(row) for row in rows[:limit]], len(rows) > limit)

    async def media(self, connection: ConnectionRow, list_id: str, limit: int, cursor: str | None) -> ListMediaPage:
        """The media of one list, those that came to be known first first. Raises NotFound, InvalidRequest."""
        after = "" if cursor is None else _position(cursor)
        list_pk = await lists.find_list(self._catalog, connection.org_id, connection.id, list_id)
        if list_pk is None:
            raise NotFound("List not found")
        rows = await lists.items_of(self._catalog, connection.org_id, list_pk, after, limit + 1)
        shown = rows[:limit]
        live = await self._reading.batch(connection, [row.media_id for row in shown if row.status_mask])
        views = _item_views(shown, live)
        return ListMediaPage(views, shown[-1].media_pk if len(rows) > limit else UNSET)


def _position(cursor: str) -> str:
    """A cursor is the place of a media item, 32 hexadecimal digits: it names no data and opens nothing by itself."""
    if len(cursor) != 32 or not set(cursor) <= set("0123456789abcdef"):
        raise InvalidRequest("cursor is not one that this list gave")
    return cursor


def _list_view(row: ListRow) -> ListView:
    return ListView(
        id=row.list_id,
        name=row.name,
        type=row.type,
        item_count=row.item_count,
        cached_count=row.cached_count,
        baseline_count=row.baseline_count,
        created_at=iso8601(row.created_at),
        last_added_at=_moment(row.last_added_at),
        last_synced_at=_moment(row.last_synced_at),
    )


def _moment(at: int | None) -> str | None:
    return None if at is None else iso8601(at)


def _item_views(rows: Sequence[ListItemRow], live: Sequence[ItemView]) -> list[ListItemView]:
    by_id = {item.id: item for item in live}
    return [_item_view(row, by_id.get(row.media_id)) for row in rows]


def _item_view(row: ListItemRow, item: ItemView | None) -> ListItemView:
    """An item with nothing live any more is told as removed, with what was known of it."""
    item_type = item.type if item else MediaType(row.type)
    duration = item.duration if item else (None if item_type is MediaType.IMAGE else row.duration)
    return ListItemView(
        media_id=row.media_id,
        of_media_id=row.media_id,
        status=overall_status([Status(variant.status) for variant in item.media.values()] if item else []),
        type=item_type,
        duration=duration,
        first_added_at=iso8601(row.first_added_at),
        last_added_at=iso8601(row.last_added_at),
        last_seen_at=iso8601(row.last_seen_at),
        last_synced_at=_moment(row.last_synced_at),
        media=item.media if item else {},
    )


def overall_status(live: Sequence[Status]) -> Status:
    """stored when every live variant is; else storing or pending when one is on its way; else edge_only.

    Without any live variant: removed.
    """
    if not live:
        return Status.REMOVED
    if set(live) == {Status.STORED}:
        return Status.STORED
    return next((status for status in (Status.STORING, Status.PENDING) if status in live), Status.EDGE_ONLY)
