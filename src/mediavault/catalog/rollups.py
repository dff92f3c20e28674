"""Rollups: what page queries must know of a media item, kept in the transaction that changes one of its variants."""

from collections.abc import Sequence

from sqlalchemy import bindparam, select, update

from mediavault.catalog.operations import Do, Operation, Row
from mediavault.catalog.tables import media, variants
from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType, overall_type

#: The sort key of a media item that has none: below every real one.
NONE = -1

#: A bit for each live status; `media.status_mask` has those of its variants.
STATUS_BITS = {
    status: 1 << position
    for position, status in enumerate((Status.EDGE_ONLY, Status.PENDING, Status.STORING, Status.STORED))
}

#: The bits of every live status.
ANY_STATUS = sum(STATUS_BITS.values())

_HOLD = select(media.c.id).where(media.c.id == bindparam("media_pk")).with_for_update(key_share=True)
_VARIANTS = (
    select(variants.c.status, variants.c.content_type, variants.c.stored_at, media.c.type, media.c.duration)
    .join_from(media, variants, variants.c.media_pk == media.c.id)
    .where(media.c.id == bindparam("media_pk"))
)
_SET = (
    update(media)
    .where(media.c.id == bindparam("media_pk"))
    .values(
        status_mask=bindparam("set_status_mask"),
        cached_at=bindparam("set_cached_at"),
        shown_type=bindparam("set_shown_type"),
        duration_key=bindparam("set_duration_key"),
    )
)


def refresh(media_pk: str) -> Operation[None]:
    """Bring a media item's rollups up to its variants. The caller's transaction holds the media row."""
    rows = yield Do(_VARIANTS, {"media_pk": media_pk})
    if rows:
        yield Do(_SET, {"media_pk": media_pk, **_of(rows)})


def hold_and_refresh(media_pk: str) -> Operation[None]:
    """The same for a transaction that does not hold the media row yet.

    Held by a statement of its own: what reads the variants must see what the row's last holder did to them.
    """
    yield Do(_HOLD, {"media_pk": media_pk})
    yield from refresh(media_pk)


def duration_key(shown_type: MediaType, duration: float | None) -> float:
    """The sort key of the duration that is shown: an image shows none."""
    return NONE if duration is None or shown_type is MediaType.IMAGE else duration


def _of(rows: Sequence[Row]) -> dict[str, object]:
    live = [row for row in rows if row[0] != Status.REMOVED.value]
    mask = 0
    for row in live:
        mask |= STATUS_BITS[Status(row[0])]
    stored = [row[2] for row in live if row[2] is not None]
    shown_type = overall_type([row[1] for row in live], MediaType(rows[0][3]))
    return {
        "set_status_mask": mask,
        "set_cached_at": max(stored, default=NONE),
        "set_shown_type": shown_type.value,
        "set_duration_key": duration_key(shown_type, rows[0][4]),
    }
