"""Undo: what was removed comes back as stored while its bytes are retained, inside the undo window."""

from dataclasses import dataclass

from sqlalchemy import bindparam, or_, select

from mediavault.catalog import transitions
from mediavault.catalog.limits import Fold, fit, hold_room
from mediavault.catalog.operations import Do, Operation, Row
from mediavault.catalog.padding import chunks, is_among, padded
from mediavault.catalog.removals import Removed
from mediavault.catalog.tables import media, variants
from mediavault.domain.lifecycle import Event, Status
from mediavault.errors import MediaNotFound


@dataclass(frozen=True)
class Restored:
    """What came back, and what had to go for it."""

    count: int
    size_bytes: int
    evicted: Removed


_FOUND = (
    select(variants.c.id, variants.c.status, variants.c.size_bytes)
    .join_from(variants, media, media.c.id == variants.c.media_pk)
    .where(
        media.c.org_id == bindparam("org_id"),
        media.c.connection_id == bindparam("connection_id"),
        media.c.media_id == bindparam("media_id"),
        variants.c.retained_blob_id.is_not(None),
        variants.c.removed_at > bindparam("removed_after"),
        or_(variants.c.status == Status.REMOVED.value, variants.c.status == Status.EDGE_ONLY.value),
    )
    .order_by(variants.c.id)
)
#: Those that are held: the sweep that lets go of retained bytes passes over them, or was first and they are not here.
_RESTORABLE = _FOUND.where(is_among(variants.c.id)).with_for_update(of=variants, key_share=True)


def restore_item(
    org_id: str, connection_id: str, media_id: str, removed_after: int, fold: Fold, now: int
) -> Operation[Restored]:
    """Bring back every variant of an item whose bytes are retained. Raises MediaNotFound, LimitReached.

    One that was seen again meanwhile is only known, so it is removed once more first: restoring starts from there.
    """
    item = {"org_id": org_id, "connection_id": connection_id, "media_id": media_id}
    asked = {**item, "removed_after": removed_after}
    found = yield Do(_FOUND, asked)
    ids, incoming = [row[0] for row in found], sum(row[2] for row in found)
    yield from hold_room(org_id, connection_id, incoming, fold, now, ids)
    rows: list[Row] = []
    for some in chunks(ids):
        rows += yield Do(_RESTORABLE, {**asked, **padded(some)})
    if not rows:
        raise MediaNotFound
    size_bytes = sum(row[2] for row in rows)
    evicted = yield from fit(org_id, connection_id, size_bytes, fold, now)
    # First all that are removed: a thumbnail goes along with its original, and must not go after it has come back.
    for variant_id, status, _ in rows:
        if status == Status.EDGE_ONLY.value:
            yield from transitions.apply(variant_id, Event.REMOVED, at=now, reason="its bytes are restored")
    for variant_id, _, _ in rows:
        yield from transitions.apply(variant_id, Event.RESTORED, at=now, attempts=0, crashes=0, last_error=None)
    return Restored(len(rows), size_bytes, evicted)
