"""What an export reads of a connection: its items with their variants and digests, its lists, a page at a time."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import bindparam, select

from mediavault.catalog.connections import ConnectionRow, of_any_organisation
from mediavault.catalog.database import Catalog
from mediavault.catalog.tables import blobs, list_items, lists, media, variants
from mediavault.domain.lifecycle import Status

_PAGE = 200
_MEMBERS_PAGE = 1000


@dataclass(frozen=True, slots=True)
class VariantToExport:
    """A live variant."""

    id: str
    label: str
    status: str
    content_type: str
    size_bytes: int
    access_count: int
    created_at: int
    expires_at: int
    stored_at: int | None
    last_accessed_at: int
    origin_key: str  #: empty where the vault made it
    blob_id: str | None
    sha256: str | None  #: hex, of the stored bytes


@dataclass(frozen=True, slots=True)
class ItemToExport:
    """A media item with its live variants; at least one."""

    pk: str
    media_id: str
    upstream_type: str
    shown_type: str
    duration: float | None
    sources: str  #: comma-separated
    created_at: int
    pinned_at: int | None
    pinned_until: int | None
    pin_reason: str | None
    variants: tuple[VariantToExport, ...]


_ITEM = ("id", "media_id", "type", "shown_type", "duration", "sources", "created_at", "pinned_at", "pinned_until")
_VARIANT = ("id", "label", "status", "content_type", "size_bytes", "access_count", "created_at", "origin_expires_at")
_VARIANT_COLUMNS = (
    *(variants.c[name] for name in (*_VARIANT, "stored_at", "last_accessed_at", "origin_key", "blob_id")),
    blobs.c.sha256,
)
_LIVE = variants.c.status != Status.REMOVED.value
_MEDIA_PAGE = (
    select(media.c.id)
    .where(
        media.c.org_id == bindparam("org_id"),
        media.c.connection_id == bindparam("connection_id"),
        media.c.id > bindparam("after"),
    )
    .order_by(media.c.id)
    .limit(_PAGE)
)
_ITEMS = (
    select(*(media.c[name] for name in (*_ITEM, "pin_reason")), *_VARIANT_COLUMNS)
    .select_from(
        media.join(variants, (variants.c.media_pk == media.c.id) & _LIVE).outerjoin(
            blobs, blobs.c.id == variants.c.blob_id
        )
    )
    .where(
        media.c.org_id == bindparam("org_id"),
        media.c.connection_id == bindparam("connection_id"),
        media.c.id > bindparam("after"),
        media.c.id <= bindparam("until"),
    )
    .order_by(media.c.id, variants.c.label)
)
_ONE = (
    select(*_VARIANT_COLUMNS)
    .select_from(variants.outerjoin(blobs, blobs.c.id == variants.c.blob_id))
    .where(variants.c.id == bindparam("variant_id"))
)
_LISTS = (
    select(*(lists.c[name] for name in ("id", "list_id", "name", "type", "created_at")))
    .add_columns(lists.c.last_added_at, lists.c.last_synced_at)
    .where(lists.c.org_id == bindparam("org_id"), lists.c.connection_id == bindparam("connection_id"))
    .order_by(lists.c.id)
)
_MEMBERS = (
    select(
        list_items.c.media_pk,
        media.c.media_id,
        *(list_items.c[name] for name in ("first_added_at", "last_added_at", "last_seen_at", "last_synced_at")),
    )
    .join_from(list_items, media, media.c.id == list_items.c.media_pk)
    .where(list_items.c.list_pk == bindparam("list_pk"), list_items.c.media_pk > bindparam("after"))
    .order_by(list_items.c.media_pk)
    .limit(_MEMBERS_PAGE)
)


async def find_connection(catalog: Catalog, connection_id: str) -> ConnectionRow | None:
    """A living connection of whatever organisation: the operator asks."""
    return await of_any_organisation(catalog, connection_id)


async def items(catalog: Catalog, org_id: str, connection_id: str) -> AsyncIterator[ItemToExport]:
    """Every item with something live, in the order in which they came to be known."""
    of = {"org_id": org_id, "connection_id": connection_id}
    after = ""
    while page := await catalog.fetch_list(_MEDIA_PAGE, {**of, "after": after}):
        until = page[-1][0]
        rows = await catalog.fetch_list(_ITEMS, {**of, "after": after, "until": until})
        for head, of_item in groupby(rows, lambda row: tuple(row[:10])):
            yield ItemToExport(*[*head, tuple(VariantToExport(*row[10:]) for row in of_item)])
        after = until


async def variant(catalog: Catalog, variant_id: str) -> VariantToExport | None:
    """A variant as it is now; None where it is gone."""
    rows = await catalog.fetch_list(_ONE, {"variant_id": variant_id})
    return VariantToExport(*rows[0]) if rows else None


async def all_lists(catalog: Catalog, org_id: str, connection_id: str) -> list[tuple[str, tuple[object, ...]]]:
    """`(row id, (list id, name, type, created, last added, last synced))` of each cached list."""
    rows = await catalog.fetch_list(_LISTS, {"org_id": org_id, "connection_id": connection_id})
    return [(row[0], tuple(row[1:])) for row in rows]


async def members(catalog: Catalog, list_pk: str) -> AsyncIterator[tuple[object, ...]]:
    """`(media id, first added, last added, last seen, last synced)` of each media item in a list."""
    after = ""
    while page := await catalog.fetch_list(_MEMBERS, {"list_pk": list_pk, "after": after}):
        after = page[-1][0]
        for row in page:
            yield tuple(row[1:])
