"""What the rows say of where blobs lie: moves that nobody finished, and places that blobs were moved to."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from mediavault.catalog.database import Catalog
from mediavault.catalog.tables import BlobState, blobs, is_in
from mediavault.catalog.verification import Check
from mediavault.catalog.verification import select as question

#: A dead mover's intent: `mediavault verify --repair` sets its bytes aside.
ABANDONED_MOVE = "abandoned_move"
_SWEPT = "see that a storer runs (`mediavault serve`); its sweep "

MOVES: Sequence[Check] = (
    Check(
        *(3, ABANDONED_MOVE, "blob"),
        "a move to this copy died, was believed until {found}, and no sweep has dropped it",
        _SWEPT + "drops it, or set it aside with `mediavault verify --repair`",
        question(
            "b.org_id, NULL, b.id, b.keep_until, ''",
            "FROM blobs b WHERE b.state = 'writing' AND b.keep_until < :lease_before",
        ),
        served_only=True,
        times=("lease_before",),
    ),
    Check(
        *(3, "old_copy_left", "blob"),
        "its bytes were moved elsewhere and kept here until {found}, and no sweep has deleted them",
        _SWEPT + "deletes them",
        question(
            "b.org_id, NULL, b.id, b.keep_until, ''",
            "FROM blobs b WHERE b.state = 'doomed' AND b.keep_until < :lease_before",
        ),
        served_only=True,
        times=("lease_before",),
    ),
)

_PLACES = (
    select(blobs.c.place, func.count(), func.min(blobs.c.id))
    .where(is_in(blobs.c.state, BlobState.LIVE), blobs.c.place.is_not(None))
    .group_by(blobs.c.place)
    .order_by(blobs.c.place)
)


@dataclass(frozen=True)
class Named:
    """A place that rows name."""

    place: str  #: its URL when blobs were moved there
    blobs: int
    first: str  #: the id of one of them


async def named_places(catalog: Catalog) -> list[Named]:
    """Every place that blobs are known to have been moved to."""
    return [Named(*row) for row in await catalog.fetch_list(_PLACES, {})]
