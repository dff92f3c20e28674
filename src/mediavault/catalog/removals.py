"""Removal: the row first, the bytes later by a sweep."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import bindparam, literal_column, select

from mediavault.catalog import row_locks, transitions
from mediavault.catalog.operations import Do, Operation, Rows
from mediavault.catalog.padding import chunks, is_among, padded
from mediavault.catalog.tables import media, variants
from mediavault.domain.lifecycle import LIVE, Event, Status
from mediavault.errors import LostRace


@dataclass(frozen=True)
class Removed:
    """What a removal took away."""

    variant_ids: tuple[str, ...]
    freed_bytes: int  #: of those that were stored


_COLUMNS = (variants.c.id, variants.c.status, variants.c.size_bytes)
_OF_ITEM = (
    select(*_COLUMNS, variants.c.label)
    .join_from(variants, media, media.c.id == variants.c.media_pk)
    .where(
        media.c.org_id == bindparam("org_id"),
        media.c.connection_id == bindparam("connection_id"),
        media.c.media_id == bindparam("media_id"),
        variants.c.status != Status.REMOVED.value,
    )
    .order_by(variants.c.id)
)
_OF_CONNECTION = (
    select(*_COLUMNS)
    .where(
        variants.c.org_id == bindparam("org_id"),
        variants.c.connection_id == bindparam("connection_id"),
        variants.c.status.in_([literal_column(f"'{status.value}'") for status in sorted(LIVE)]),
    )
    .order_by(variants.c.status, variants.c.id)  # the index's order: a batch never looks at what is removed already
    .limit(500)
)
_AS_THEY_ARE = select(*_COLUMNS).where(is_among(variants.c.id)).order_by(variants.c.id)


def remove_item(org_id: str, connection_id: str, media_id: str, reason: str, now: int) -> Operation[Removed]:
    """Remove every live variant of one media id."""
    rows = yield Do(_OF_ITEM, {"org_id": org_id, "connection_id": connection_id, "media_id": media_id})
    return (yield from remove_rows(rows, reason, now))


def supersede(
    org_id: str,
    connection_id: str,
    media_id: str,
    shown: Collection[str],
    wanted: Collection[str],
    reason: str,
    now: int,
) -> Operation[Removed]:
    """Remove those variants of a media id that are fetched anew; their bytes stay until that is done.

    Of the labels, `shown` have a URL now, and policy wants `wanted` stored. What is stored and would not be fetched
    stays as it is: it may be the only copy.
    """
    rows = yield Do(_OF_ITEM, {"org_id": org_id, "connection_id": connection_id, "media_id": media_id})
    anew = [row for row in rows if row[3] in shown and (row[3] in wanted or row[1] != Status.STORED.value)]
    return (yield from remove_rows(anew, reason, now, superseded=True))


def remove_some(org_id: str, connection_id: str, reason: str, now: int) -> Operation[Removed]:
    """Remove a batch of a connection's live variants; empty when none is left."""
    rows = yield Do(_OF_CONNECTION, {"org_id": org_id, "connection_id": connection_id})
    return (yield from remove_rows(rows, reason, now))


def remove_rows(rows: Rows, reason: str, now: int, *, superseded: bool = False) -> Operation[Removed]:
    """Remove those of rows that begin with an id that nobody else has removed meanwhile."""
    removed: list[str] = []
    freed = 0
    yield from row_locks.hold([row[0] for row in rows], with_derived=True)
    for ids in chunks([row[0] for row in rows]):
        for variant_id, status, size_bytes in (yield Do(_AS_THEY_ARE, padded(ids))):
            try:
                moved = yield from transitions.apply(
                    variant_id, Event.REMOVED, at=now, reason=reason, superseded=superseded
                )
            except LostRace:  # or a derived thumbnail that went along with its original
                continue
            removed += [variant_id, *(each.variant_id for each in moved.along)]
            freed += size_bytes if status == Status.STORED.value else 0
            freed += sum(each.freed_bytes for each in moved.along)
    return Removed(tuple(removed), freed)
