"""Pages of media: keyset on (sort key, id), so that any depth costs what the first page does.

The media that have the sort key come first, then those without (`rollups.NONE`), each part in the order of the one
index of its sort key. A page that goes on after a cursor leaves out the range's near end: the position is inside the
range, and of two bounds for one end a planner may take the wide one.

A status is a bit of a mask. A page of what is pending or storing is merged from a page of each mask that has the bit,
which is a stretch of one index in the sort's order: so the few that are being stored are found among very many that
are not. Other statuses are looked for along the sort's index.

Ranges over other keys than the sort's, and content types, may be read from indexes of their own (`planning.py`).
"""

from dataclasses import replace
from typing import Any

from mediavault.catalog import page_statements
from mediavault.catalog.database import Catalog
from mediavault.catalog.operations import Row
from mediavault.catalog.page_statements import COMMON_TYPE, CONTENT_TYPE, WAITING, Filter, Shape
from mediavault.catalog.planning import gathered
from mediavault.catalog.rollups import NONE
from mediavault.domain.cursor import Position
from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType
from mediavault.domain.media_query import MediaQuery, Range, SortKey

#: No sort key is larger: times in Unix milliseconds, seconds of duration.
_LARGEST = 2**53
_TYPES = tuple(media_type.value for media_type in MediaType)
#: What a media item may be shown as that has a variant of that family (`domain/media.overall_type`); else anything.
_SHOWN_AS = {"video": ("video",), "audio": ("video", "audio")}
#: What a look into a media item's row or its variants costs, in entries of an index.
_LOOK = 10
#: Media of a content type are gathered up to so many, as each needs looks into two tables; more are met by any walk,
#: unless they all lie together.
_RARE = 2000


async def page(
    catalog: Catalog, org_id: str, connection_id: str, query: MediaQuery, position: Position | None
) -> tuple[list[str], Position | None]:
    """The rows' ids of a page in its order, and where the next one goes on; None after the last."""
    if query.status is Status.REMOVED or not _types(query):
        return [], None  # what is removed is never listed; nothing that has a video is shown as an image
    wanted = query.limit + 1
    values = {"org_id": org_id, "connection_id": connection_id, "wanted": wanted, **_filter_values(query)}
    shape = await _shape(catalog, query, values)
    rows: list[Row] = []
    if position is None or position.key is not None:
        rows += await _part(catalog, shape, values, wanted, position)
    if len(rows) < wanted and _has_keyless(query):
        goes_on = position if position is not None and position.key is None else None
        rows += await _part(catalog, replace(shape, keyed=False), values, wanted - len(rows), goes_on)
    ids = [row[0] for row in rows[: query.limit]]
    if len(rows) < wanted:
        return ids, None
    last_id, last_key = rows[query.limit - 1]
    return ids, Position(None if last_key == NONE else last_key, last_id)


def _has_keyless(query: MediaQuery) -> bool:
    """Whether media without the sort key may be in the answer."""
    return query.sort.key is not SortKey.CREATED_AT and not _range_of(query, query.sort.key).is_bounded


def _range_of(query: MediaQuery, key: SortKey) -> Range:
    cached_at = query.cached_at
    if query.status is Status.STORED and not cached_at.is_bounded:
        cached_at = Range(low=0)  # whatever is stored has been cached: so the few that are stored are found by that
    return {
        SortKey.CREATED_AT: query.created_at,
        SortKey.CACHED_AT: cached_at,
        SortKey.DURATION: query.duration,
    }[key]


async def _part(
    catalog: Catalog, shape: Shape, values: dict[str, Any], at_most: int, position: Position | None
) -> list[Row]:
    values = values | {"at_most": at_most}
    if position is not None:
        shape = replace(shape, goes_on=True)
        values |= {"after_key": position.key, "after_id": position.id}
    return list(await catalog.fetch_list(page_statements.page(shape), values))


async def _shape(catalog: Catalog, query: MediaQuery, values: dict[str, Any]) -> Shape:
    """Of the question's first page, with the index that all of its pages are read from."""
    sorts_by = query.sort.key
    shape = Shape(
        sort=query.sort,
        keyed=True,
        goes_on=False,
        status=query.status,
        bounded=frozenset(key for key in SortKey if key is not sorts_by and _range_of(query, key).is_bounded),
        by_content_type=query.content_type is not None,
        by_source=query.source is not None,
    )

    async def passed(by: Filter, up_to: int, *, keyed: bool = True) -> int:
        statement = page_statements.passed(by, keyed=keyed)
        return int((await catalog.fetch_list(statement, values | {"at_most": up_to}))[0][0])

    async def is_walked(looked_at: int) -> bool:
        for keyed in (True, False) if _has_keyless(query) else (True,):
            statement = page_statements.ends(sorts_by, shape.bounded, keyed=keyed)
            seen = (await catalog.fetch_list(statement, values | {"looked_at": looked_at}))[0]
            if min(seen) < values["wanted"] and await passed(sorts_by, looked_at, keyed=keyed) == looked_at:
                return False
        return True

    if query.content_type not in {None, COMMON_TYPE} and await passed(CONTENT_TYPE, _RARE + 1) <= _RARE:
        return replace(shape, gathered=CONTENT_TYPE)
    if query.status in WAITING:
        return shape  # an index of its own leaves few to walk
    looks_into_rows = shape.status or shape.by_content_type or shape.by_source
    by = await gathered(sorted(shape.bounded), passed, is_walked, _LOOK if looks_into_rows else 1)
    return replace(shape, gathered=by)


def _filter_values(query: MediaQuery) -> dict[str, Any]:
    """Values for every shape; a statement takes those it names."""
    values: dict[str, Any] = {
        "content_type": query.content_type,
        "source": None if query.source is None else f"%,{query.source.value},%",
    }
    types = _types(query)
    values |= {f"type_{place}": types[min(number, len(types) - 1)] for number, place in enumerate("abc")}
    for key in SortKey:
        low, high = _ends(_range_of(query, key))
        values |= {f"{key.value}_low": low, f"{key.value}_high": high}
    return values


def _types(query: MediaQuery) -> list[str]:
    """What the media may be shown as."""
    family = (query.content_type or "").partition("/")[0]
    return [name for name in _SHOWN_AS.get(family, _TYPES) if query.type is None or query.type == name]


def _ends(bounds: Range) -> tuple[int | float, int | float]:
    """The ends as the column's type holds them; nothing below 0, where the mark of a missing key is."""
    low = 0 if bounds.low is None else bounds.low
    high = _LARGEST if bounds.high is None else bounds.high
    return min(max(low, 0), _LARGEST), max(min(high, _LARGEST), NONE)
