"""Pages of media: keyset on (sort key, id), so that any depth costs what the first page does.

The media that have the sort key come first, then those without (`rollups.NONE`), each part in the order of the one
index of its sort key. A page that goes on after a cursor leaves out the range's near end: the position is inside the
range, and of two bounds for one end a planner may take the wide one.

A status is a bit of a mask. A page of what is pending or storing is merged from a page of each mask that has the bit,
which is a stretch of one index in the sort's order: so the few that are being stored are found among very many that
are not. Other statuses are looked for along the sort's index.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    String,
    bindparam,
    exists,
    literal_column,
    select,
    tuple_,
    union_all,
)
from sqlalchemy import cast as sql_cast

from mediavault.catalog.database import Catalog
from mediavault.catalog.operations import Row
from mediavault.catalog.planning import Unindexed
from mediavault.catalog.rollups import ANY_STATUS, NONE, STATUS_BITS
from mediavault.catalog.tables import media, variants
from mediavault.domain.cursor import Position
from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType
from mediavault.domain.media_query import MediaQuery, Range, Sort, SortKey

S = TypeVar("S", Select[Any], CompoundSelect[Any])

_COLUMN = {
    SortKey.CREATED_AT: media.c.created_at,
    SortKey.CACHED_AT: media.c.cached_at,
    SortKey.DURATION: media.c.duration_key,
}
#: No sort key is larger: times in Unix milliseconds, seconds of duration.
_LARGEST = 2**53
_TYPES = tuple(media_type.value for media_type in MediaType)
#: Statuses that few media have at a time, with indexes of their own.
_WAITING = (Status.PENDING, Status.STORING)
#: What a media item may be shown as that has a variant of that family (`domain/media.overall_type`); else anything.
_SHOWN_AS = {"video": ("video",), "audio": ("video", "audio")}


@dataclass(frozen=True)
class _Shape:
    """What decides a statement's text. There are few: statements are compiled once and kept."""

    sort: Sort
    keyed: bool  #: the part of the media that have the sort key, or the part of those that have none
    goes_on: bool  #: after a position
    status: Status | None
    bounded: frozenset[SortKey]  #: ranges over other columns than the sort's
    by_content_type: bool
    by_source: bool


async def page(
    catalog: Catalog, org_id: str, connection_id: str, query: MediaQuery, position: Position | None
) -> tuple[list[str], Position | None]:
    """The rows' ids of a page in its order, and where the next one goes on; None after the last."""
    if query.status is Status.REMOVED or not _types(query):
        return [], None  # what is removed is never listed; nothing that has a video is shown as an image
    values = {"org_id": org_id, "connection_id": connection_id, **_filter_values(query)}
    wanted = query.limit + 1
    rows: list[Row] = []
    if position is None or position.key is not None:
        rows += await _part(catalog, query, values, wanted, position, keyed=True)
    if len(rows) < wanted and _has_keyless(query):
        goes_on = position if position is not None and position.key is None else None
        rows += await _part(catalog, query, values, wanted - len(rows), goes_on, keyed=False)
    ids = [row[0] for row in rows[: query.limit]]
    if len(rows) < wanted:
        return ids, None
    last_id, last_key = rows[query.limit - 1]
    return ids, Position(None if last_key == NONE else last_key, last_id)


def _has_keyless(query: MediaQuery) -> bool:
    """Whether media without the sort key may be in the answer."""
    return query.sort.key is not SortKey.CREATED_AT and not _range_of(query, query.sort.key).is_bounded


def _range_of(query: MediaQuery, key: SortKey) -> Range:
    return {
        SortKey.CREATED_AT: query.created_at,
        SortKey.CACHED_AT: query.cached_at,
        SortKey.DURATION: query.duration,
    }[key]


async def _part(
    catalog: Catalog, query: MediaQuery, values: dict[str, Any], at_most: int, position: Position | None, *, keyed: bool
) -> list[Row]:
    shape = _Shape(
        sort=query.sort,
        keyed=keyed,
        goes_on=position is not None,
        status=query.status,
        bounded=frozenset(key for key in SortKey if key is not query.sort.key and _range_of(query, key).is_bounded),
        by_content_type=query.content_type is not None,
        by_source=query.source is not None,
    )
    if position is not None:
        values = values | {"after_key": position.key, "after_id": position.id}
    return list(await catalog.fetch_list(_statement(shape), values | {"at_most": at_most}))


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


@cache
def _statement(shape: _Shape) -> Select[Any] | CompoundSelect[Any]:
    if shape.status is None or shape.status not in _WAITING:
        wanted = ANY_STATUS if shape.status is None else STATUS_BITS[shape.status]
        return _ordered(_found(shape, media.c.status_mask != literal_column("0"), _has(wanted)), shape)
    bit = STATUS_BITS[shape.status]
    waiting = _has(sum(STATUS_BITS[status] for status in _WAITING))
    masks = [media.c.status_mask == literal_column(str(mask)) for mask in range(1, ANY_STATUS + 1) if mask & bit]
    # Each stretch ordered and limited by itself: PostgreSQL would else read all of them, and sort.
    stretches = [_ordered(_found(shape, waiting, mask), shape).subquery() for mask in masks]
    return _ordered(union_all(*(select(*stretch.c) for stretch in stretches)), shape)


def _has(bits: int) -> ColumnElement[bool]:
    """In the partial indexes' own words: a parameter would not match them."""
    return media.c.status_mask.bitwise_and(literal_column(str(bits))) != literal_column("0")


def _found(shape: _Shape, *masked: ColumnElement[bool]) -> Select[Any]:
    column = _COLUMN[shape.sort.key]
    return select(media.c.id, column).where(*masked, *_filters(shape), *_place(shape, column))


def _ordered(found: S, shape: _Shape) -> S:
    id_, key = found.selected_columns
    order = (key.desc(), id_.desc()) if shape.sort.descends else (key.asc(), id_.asc())
    return found.order_by(*order).limit(bindparam("at_most"))


def _place(shape: _Shape, column: Any) -> list[ColumnElement[bool]]:
    """Where in the sort's index the page begins and how far it may go."""
    after_id = bindparam("after_id", type_=media.c.id.type)
    descends = shape.sort.descends
    if not shape.keyed:
        beyond = media.c.id < after_id if descends else media.c.id > after_id
        return [column == literal_column(str(NONE)), *([beyond] if shape.goes_on else [])]
    low = column >= bindparam(f"{shape.sort.key.value}_low", type_=column.type)
    high = column <= bindparam(f"{shape.sort.key.value}_high", type_=column.type)
    if not shape.goes_on:
        return [low, high]
    here, there = tuple_(column, media.c.id), tuple_(bindparam("after_key", type_=column.type), after_id)
    return [here < there, low] if descends else [here > there, high]


def _filters(shape: _Shape) -> list[ColumnElement[bool]]:
    filters = [
        media.c.org_id == bindparam("org_id"),
        media.c.connection_id == bindparam("connection_id"),
        media.c.shown_type.in_([bindparam(f"type_{number}") for number in "abc"]),
    ]
    for key in sorted(shape.bounded):
        column = _COLUMN[key]
        low, high = (bindparam(f"{key.value}_{end}", type_=column.type) for end in ("low", "high"))
        filters.append(Unindexed(column).between(low, high))
    if shape.by_content_type:
        filters.append(
            exists().where(
                variants.c.media_pk == media.c.id,
                variants.c.status != Status.REMOVED.value,
                variants.c.content_type == bindparam("content_type"),
            )
        )
    if shape.by_source:
        among: ColumnElement[str] = literal_column("','") + media.c.sources + literal_column("','")
        filters.append(sql_cast(among, String).like(bindparam("source")))
    return filters
