"""Following an organisation's events as they come, from any event that is kept on."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from mediavault.catalog import outbox
from mediavault.catalog.database import Catalog
from mediavault.catalog.outbox import EventRow
from mediavault.domain import event_types
from mediavault.domain.times import iso8601
from mediavault.errors import InvalidRequest


@dataclass(frozen=True)
class Start:
    """Where a follower begins."""

    seq: int  #: the first event it gets is behind this one
    lost: bool  #: events it asked for are not kept any more, or never were


@dataclass(frozen=True)
class Told:
    """One event on its way to a follower."""

    seq: int
    type: str
    connection_id: str
    body: bytes  #: JSON on one line


class Following:
    """Reads the outbox for the event stream."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    async def start(self, org_id: str, last_seen: int | None) -> Start:
        """Behind the last event seen; at the present for who has seen none."""
        latest = await outbox.latest(self._catalog, org_id)
        if last_seen is None:
            return Start(latest, lost=False)
        if last_seen > latest:  # it has followed another database, or one from before a restore
            return Start(latest, lost=True)
        oldest = await outbox.oldest(self._catalog, org_id)
        kept_after = latest if oldest is None else oldest - 1
        return Start(max(last_seen, kept_after), lost=last_seen < kept_after)

    async def after(self, org_id: str, seq: int, at_most: int) -> Sequence[Told]:
        """The events behind a number, in order. Asking when there is nothing new costs one point read."""
        if await outbox.latest(self._catalog, org_id) <= seq:
            return ()
        return [_told(row) for row in await outbox.after(self._catalog, org_id, seq, at_most)]


def wanted_types(text: str | None) -> frozenset[str] | None:
    """The types in a comma-separated list; None for all. Raises InvalidRequest for unknown ones."""
    if text is None:
        return None
    wanted = frozenset(part.strip() for part in text.split(","))
    if not wanted <= event_types.KNOWN:
        raise InvalidRequest(f"types must be some of {', '.join(sorted(event_types.KNOWN))}")
    return wanted


def _told(row: EventRow) -> Told:
    shape = {
        "id": row.id,
        "eventType": row.type,
        "live": True,
        "connectionId": row.connection_id or None,
        "createdAt": iso8601(row.created_at),
        "data": msgspec.Raw(row.data.encode()),
    }
    return Told(row.seq, row.type, row.connection_id, msgspec.json.encode(shape))
