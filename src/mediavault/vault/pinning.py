"""Pinning: a person's word that policy may not remove an item. It does not bind the person."""

from msgspec import Struct

from mediavault.catalog import pins
from mediavault.catalog.connections import ConnectionRow
from mediavault.catalog.database import Catalog
from mediavault.catalog.pins import PinRow
from mediavault.domain.media import check_media_id
from mediavault.domain.times import Now, iso8601
from mediavault.errors import InvalidRequest

_LONGEST_REASON = 500
_LAST = 253_402_300_799_999  #: the last millisecond of the year 9999


class PinView(Struct, frozen=True, rename="camel"):
    """Whether an item is pinned; one whose end has come is not."""

    media_id: str
    pinned: bool
    reason: str | None
    pinned_at: str | None
    until: str | None


class Pinning:
    """Pins and unpins items."""

    def __init__(self, catalog: Catalog, now: Now) -> None:
        self._catalog = catalog
        self._now = now

    async def pin(self, connection: ConnectionRow, media_id: str, reason: str, until: int | None) -> PinView:
        """Pin an item, or change its pin. Raises InvalidRequest, MediaNotFound."""
        now = self._now()
        if not reason.strip() or len(reason) > _LONGEST_REASON or not reason.isprintable():
            raise InvalidRequest(f"reason must be 1 to {_LONGEST_REASON} printable characters")
        if until is not None and not now < until <= _LAST:
            raise InvalidRequest("until must be a time to come")
        row = await self._catalog.run(
            pins.pin, connection.org_id, connection.id, check_media_id(media_id), reason, until, now
        )
        return _view(media_id, row, now)

    async def unpin(self, connection: ConnectionRow, media_id: str) -> PinView:
        """Take a pin away. Raises MediaNotFound."""
        await self._catalog.run(pins.unpin, connection.org_id, connection.id, check_media_id(media_id))
        return PinView(media_id, pinned=False, reason=None, pinned_at=None, until=None)

    async def pin_of(self, connection: ConnectionRow, media_id: str) -> PinView:
        """The pin of an item. Raises MediaNotFound."""
        row = await self._catalog.run(pins.find, connection.org_id, connection.id, check_media_id(media_id))
        return _view(media_id, row, self._now())


def _view(media_id: str, row: PinRow, now: int) -> PinView:
    if row.pinned_at is None or not row.holds(now):
        return PinView(media_id, pinned=False, reason=None, pinned_at=None, until=None)
    until = None if row.until is None else iso8601(row.until)
    return PinView(media_id, pinned=True, reason=row.reason, pinned_at=iso8601(row.pinned_at), until=until)
