"""Listing a connection's media, a page at a time: one query for the rows' ids by keyset, one for their variants."""

from dataclasses import dataclass

from msgspec import UNSET, Struct, UnsetType

from mediavault.catalog import items, media_pages
from mediavault.catalog.connections import ConnectionRow
from mediavault.catalog.database import Catalog
from mediavault.catalog.items import ItemRow
from mediavault.domain.cursor import read_cursor, write_cursor
from mediavault.domain.media_query import MediaQuery
from mediavault.vault.reading import ItemView, Reading


@dataclass(frozen=True)
class Page:
    """A page before it is shown."""

    rows: list[ItemRow]
    next_cursor: str | None  #: None after the last page


class MediaPage(Struct, frozen=True, rename="camel"):
    """`GET /v2/vault-plus/media`; no `nextCursor` on the last page."""

    items: list[ItemView]
    next_cursor: str | UnsetType = UNSET


class Listing:
    """Answers page queries."""

    def __init__(self, catalog: Catalog, reading: Reading) -> None:
        self._catalog = catalog
        self._reading = reading

    async def media(self, connection: ConnectionRow, query: MediaQuery) -> MediaPage:
        """A page as it is shown. Raises InvalidRequest for a cursor of another question."""
        found = await self.page(connection, query)
        return MediaPage(self._reading.views(connection, found.rows), found.next_cursor or UNSET)

    async def page(self, connection: ConnectionRow, query: MediaQuery) -> Page:
        """A page's rows. An item that is removed meanwhile is left out. Raises InvalidRequest."""
        position = read_cursor(query, connection.id)
        ids, last = await media_pages.page(self._catalog, connection.org_id, connection.id, query, position)
        rows = await items.items_of_rows(self._catalog, connection.org_id, connection.id, ids)
        return Page(rows, None if last is None else write_cursor(last, query, connection.id))
