"""Pins: an item that policy must not remove, why, and until when. A person's own removal is not policy's."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, bindparam, null, or_, select, update

from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.tables import media
from mediavault.errors import MediaNotFound


@dataclass(frozen=True)
class PinRow:
    """A pin as it stands on its media item."""

    pinned_at: int | None  #: None where there is none
    until: int | None  #: None for good
    reason: str | None

    def holds(self, now: int) -> bool:
        """Whether it protects now: one that has ended does so no longer, without anybody taking it away."""
        return self.pinned_at is not None and (self.until is None or self.until > now)


def unpinned() -> ColumnElement[bool]:
    """The media item has no pin that holds at the parameter `now`."""
    return or_(media.c.pinned_at.is_(None), media.c.pinned_until <= bindparam("now"))


_MINE = (
    media.c.org_id == bindparam("of_org"),
    media.c.connection_id == bindparam("of_connection"),
    media.c.media_id == bindparam("of_media"),
    media.c.status_mask != 0,
)
_PIN = select(media.c.pinned_at, media.c.pinned_until, media.c.pin_reason).where(*_MINE)
_SET = (
    update(media)
    .where(*_MINE)
    .values(
        pinned_at=bindparam("set_pinned_at"), pinned_until=bindparam("set_until"), pin_reason=bindparam("set_reason")
    )
    .returning(media.c.pinned_at, media.c.pinned_until, media.c.pin_reason)
)
_CLEAR = (
    update(media).where(*_MINE).values(pinned_at=null(), pinned_until=null(), pin_reason=null()).returning(media.c.id)
)


def pin(org_id: str, connection_id: str, media_id: str, reason: str, until: int | None, now: int) -> Operation[PinRow]:
    """Pin a live item, or change its pin. Raises MediaNotFound."""
    mine = _mine(org_id, connection_id, media_id)
    rows = yield Do(_SET, {**mine, "set_pinned_at": now, "set_until": until, "set_reason": reason})
    if not rows:
        raise MediaNotFound
    return PinRow(*rows[0])


def unpin(org_id: str, connection_id: str, media_id: str) -> Operation[None]:
    """Take a pin away; an item without one stays as it is. Raises MediaNotFound."""
    if not (yield Do(_CLEAR, _mine(org_id, connection_id, media_id))):
        raise MediaNotFound


def find(org_id: str, connection_id: str, media_id: str) -> Operation[PinRow]:
    """The pin of a live item. Raises MediaNotFound."""
    rows = yield Do(_PIN, _mine(org_id, connection_id, media_id))
    if not rows:
        raise MediaNotFound
    return PinRow(*rows[0])


def _mine(org_id: str, connection_id: str, media_id: str) -> dict[str, object]:
    return {"of_org": org_id, "of_connection": connection_id, "of_media": media_id}
