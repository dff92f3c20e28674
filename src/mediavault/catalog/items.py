"""Reads of media items and their variants, for the API and the media host."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, case, func, select

from mediavault.catalog.database import Catalog
from mediavault.catalog.operations import Row
from mediavault.catalog.padding import AT_ONCE, is_among, padded
from mediavault.catalog.planning import Unindexed
from mediavault.catalog.tables import connections, media, organisations, usage, variants
from mediavault.domain.lifecycle import Status

LARGEST_BATCH = AT_ONCE


class VariantRow(NamedTuple):
    """A live variant, as the API shows it."""

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


class ItemRow(NamedTuple):
    """A media item with its live variants; at least one."""

    media_id: str
    type: str
    duration: float | None
    sources: str  #: comma-separated, first seen first
    variants: tuple[VariantRow, ...]


class SettingsRow(NamedTuple):
    """What decides the life of a connection's URLs: settings as they are stored."""

    organisation: str  #: JSON of OrganisationSettings
    overrides: str | None  #: JSON of SettingsOverrides


_VARIANT = (
    variants.c.id,
    variants.c.label,
    variants.c.status,
    variants.c.content_type,
    variants.c.size_bytes,
    variants.c.access_count,
    variants.c.created_at,
    variants.c.origin_expires_at,
    variants.c.stored_at,
    variants.c.last_accessed_at,
)
_ITEM = (media.c.media_id, media.c.type, media.c.duration, media.c.sources, *_VARIANT)
_OF_ITEM = len(_ITEM) - len(_VARIANT)
_LIVE = variants.c.status != Status.REMOVED.value

#: One question answers whether the connection is the caller's, its settings, the item and its variants.
_CONNECTION_AND_ITEM = (
    select(organisations.c.settings, connections.c.settings_overrides, *_ITEM)
    .select_from(
        connections.join(organisations, organisations.c.id == connections.c.org_id)
        .outerjoin(media, (media.c.connection_id == connections.c.id) & (media.c.media_id == bindparam("media_id")))
        .outerjoin(variants, (variants.c.media_pk == media.c.id) & _LIVE)
    )
    .where(
        connections.c.id == bindparam("connection_id"),
        connections.c.org_id == bindparam("org_id"),
        connections.c.disconnected_at.is_(None),
    )
    .order_by(variants.c.label)
)
_LIVE_ITEMS = select(*_ITEM).select_from(media.join(variants, (variants.c.media_pk == media.c.id) & _LIVE))
_ITEMS = _LIVE_ITEMS.where(
    media.c.connection_id == bindparam("connection_id"),
    media.c.org_id == bindparam("org_id"),
    is_among(media.c.media_id),
).order_by(media.c.media_id, variants.c.label)
#: By key: SQLite would rather read every media item of the connection than look up a hundred.
_ROWS = (
    _LIVE_ITEMS.add_columns(media.c.id)
    .where(
        Unindexed(media.c.connection_id) == bindparam("connection_id", type_=media.c.connection_id.type),
        media.c.org_id == bindparam("org_id"),
        is_among(media.c.id),
    )
    .order_by(media.c.id, variants.c.label)
)
_CONNECTION_TOTALS = select(usage.c.live_count, usage.c.stored_count, usage.c.stored_bytes).where(
    usage.c.connection_id == bindparam("connection_id"), usage.c.org_id == bindparam("org_id")
)
_ORGANISATION_TOTALS = (
    select(
        func.count(connections.c.id),
        func.coalesce(func.sum(case((connections.c.vault_plus_enabled.is_(True), 1), else_=0)), 0),
        func.coalesce(func.sum(usage.c.stored_bytes), 0),
        func.coalesce(func.sum(usage.c.live_count), 0),
    )
    .join_from(connections, usage, usage.c.connection_id == connections.c.id)
    .where(connections.c.org_id == bindparam("org_id"), connections.c.disconnected_at.is_(None))
)


async def connection_and_item(
    catalog: Catalog, org_id: str, connection_id: str, media_id: str
) -> tuple[SettingsRow, ItemRow | None] | None:
    """The item, in one query. None when the organisation has no such connection; no item when it is not live."""
    rows = await catalog.fetch(
        _CONNECTION_AND_ITEM, {"org_id": org_id, "connection_id": connection_id, "media_id": media_id}
    )
    if not rows:
        return None
    settings = SettingsRow(rows[0][0], rows[0][1])
    if rows[0][2 + _OF_ITEM] is None:  # the media is unknown, or every variant of it is removed
        return settings, None
    return settings, _item([row[2:] for row in rows])


async def items(catalog: Catalog, org_id: str, connection_id: str, media_ids: Sequence[str]) -> dict[str, ItemRow]:
    """The live ones of at most LARGEST_BATCH media ids, by id."""
    if not media_ids:
        return {}
    values = {"org_id": org_id, "connection_id": connection_id, **padded(media_ids)}
    rows_of: dict[str, list[Row]] = {}
    for row in await catalog.fetch_list(_ITEMS, values):
        rows_of.setdefault(row[0], []).append(row)
    return {media_id: _item(rows) for media_id, rows in rows_of.items()}


async def items_of_rows(catalog: Catalog, org_id: str, connection_id: str, ids: Sequence[str]) -> list[ItemRow]:
    """The live ones of at most LARGEST_BATCH media rows, in the order of their ids given."""
    if not ids:
        return []
    rows_of: dict[str, list[Row]] = {}
    values = {"org_id": org_id, "connection_id": connection_id, **padded(ids)}
    for *row, row_id in await catalog.fetch_list(_ROWS, values):
        rows_of.setdefault(row_id, []).append(row)
    return [_item(rows_of[row_id]) for row_id in ids if row_id in rows_of]


def _item(rows: Sequence[Row]) -> ItemRow:
    media_id, media_type, duration, sources = rows[0][:_OF_ITEM]
    return ItemRow(media_id, media_type, duration, sources, tuple([VariantRow(*row[_OF_ITEM:]) for row in rows]))


async def connection_totals(catalog: Catalog, org_id: str, connection_id: str) -> tuple[int, int, int]:
    """`(live variants, stored variants, stored bytes)` of a connection."""
    rows = await catalog.fetch(_CONNECTION_TOTALS, {"org_id": org_id, "connection_id": connection_id})
    return (rows[0][0], rows[0][1], rows[0][2]) if rows else (0, 0, 0)


async def organisation_totals(catalog: Catalog, org_id: str) -> tuple[int, int, int, int]:
    """`(connections, those with Vault+, stored bytes, live variants)` of an organisation."""
    row = (await catalog.fetch_list(_ORGANISATION_TOTALS, {"org_id": org_id}))[0]
    return row[0], int(row[1]), int(row[2]), int(row[3])
