"""The statements that pages of media are read by, and those that the choice between them is made by."""

from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    String,
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    select,
    tuple_,
    union_all,
)
from sqlalchemy import cast as sql_cast

from mediavault.catalog.planning import Unindexed
from mediavault.catalog.rollups import ANY_STATUS, NONE, STATUS_BITS
from mediavault.catalog.tables import connections, media, variants
from mediavault.domain.lifecycle import Status
from mediavault.domain.media_query import Sort, SortKey

S = TypeVar("S", Select[Any], CompoundSelect[Any])

#: Gathers from a content type's index, where a sort key gathers from that key's.
CONTENT_TYPE = "contentType"
#: The content type that is in no index: most media have a variant of it.
COMMON_TYPE = "image/jpeg"
#: Statuses that few media have at a time, with indexes of their own.
WAITING = (Status.PENDING, Status.STORING)
Filter = SortKey | str

_COLUMN = {
    SortKey.CREATED_AT: media.c.created_at,
    SortKey.CACHED_AT: media.c.cached_at,
    SortKey.DURATION: media.c.duration_key,
}
#: In the partial index's own words, which leave out what has no live variant.
_LIVE = media.c.status_mask != literal_column("0")


@dataclass(frozen=True)
class Shape:
    """What decides a page's statement. There are few: statements are compiled once and kept."""

    sort: Sort
    keyed: bool  #: the part of the media that have the sort key, or the part of those that have none
    goes_on: bool  #: after a position
    status: Status | None
    bounded: frozenset[SortKey]  #: ranges over other columns than the sort's
    by_content_type: bool
    by_source: bool
    gathered: Filter | None = None  #: the filter whose index it is read from; None for the order's own


@cache
def page(shape: Shape) -> Select[Any] | CompoundSelect[Any]:
    """A page's ids and sort keys."""
    if shape.gathered is not None or shape.status not in WAITING:
        # Of the row's columns only the status is in no index: unless it is asked for, no row is looked into.
        masked = [] if shape.status is None else [_has(STATUS_BITS[shape.status])]
        return _ordered(_found(shape, _LIVE, *masked), shape)
    bit = STATUS_BITS[shape.status]
    waiting = _has(sum(STATUS_BITS[status] for status in WAITING))
    masks = [media.c.status_mask == literal_column(str(mask)) for mask in range(1, ANY_STATUS + 1) if mask & bit]
    # Each stretch ordered and limited by itself: PostgreSQL would else read all of them, and sort.
    stretches = [_ordered(_found(shape, waiting, mask), shape).subquery() for mask in masks]
    return _ordered(union_all(*(select(*stretch.c) for stretch in stretches)), shape)


@cache
def ends(sort: SortKey, bounded: frozenset[SortKey], *, keyed: bool) -> Select[Any]:
    """How many of the first and the last `looked_at` media of a part of an order are in the ranges, up to `wanted`."""
    key, id_ = _COLUMN[sort], media.c.id
    part = select(*(_COLUMN[each] for each in sorted(bounded))).where(*_tenant(), _LIVE, *_stretch(sort, keyed=keyed))
    counts = []
    for order in ((key.asc(), id_.asc()), (key.desc(), id_.desc())):
        end = part.order_by(*order).limit(bindparam("looked_at")).subquery()
        inside = (_inside(each, end.c[_COLUMN[each].name]) for each in sorted(bounded))
        counts.append(_count(select(*end.c).where(*inside), "wanted"))
    return select(*(count.scalar_subquery() for count in counts))


@cache
def passed(by: Filter, *, keyed: bool = True) -> Select[Any]:
    """How many media are in that key's range, or have no such key, or are of the content type; up to `at_most`."""
    if not isinstance(by, SortKey):
        return _count(_of_content_type(), "at_most")
    return _count(select(media.c.id).where(*_tenant(), _LIVE, *_stretch(by, keyed=keyed)), "at_most")


def _count(found: Select[Any], up_to: str) -> Select[Any]:
    return select(func.count()).select_from(found.limit(bindparam(up_to)).subquery())


def _has(bits: int) -> ColumnElement[bool]:
    """In the partial indexes' own words: a parameter would not match them."""
    return media.c.status_mask.bitwise_and(literal_column(str(bits))) != literal_column("0")


def _tenant(connection_id: ColumnElement[str] = media.c.connection_id) -> list[ColumnElement[bool]]:
    """The connection's, if that is the organisation's: which is asked once, not of every row."""
    given = bindparam("connection_id", type_=media.c.connection_id.type)
    owner = select(connections.c.org_id).where(connections.c.id == given).scalar_subquery()
    return [owner == bindparam("org_id"), connection_id == given]


def _of_content_type() -> Select[Any]:
    return select(variants.c.media_pk).where(
        variants.c.connection_id == bindparam("connection_id"),
        variants.c.content_type == bindparam("content_type"),
        # In the partial index's own words.
        variants.c.status != literal_column(f"'{Status.REMOVED.value}'"),
        variants.c.content_type != literal_column(f"'{COMMON_TYPE}'"),
    )


def _found(shape: Shape, *masked: ColumnElement[bool]) -> Select[Any]:
    return select(media.c.id, _COLUMN[shape.sort.key]).where(*masked, *_filters(shape), *_place(shape))


def _ordered(found: S, shape: Shape) -> S:
    id_, key = found.selected_columns
    if shape.gathered is not None:
        key = Unindexed(key)
    order = (key.desc(), id_.desc()) if shape.sort.descends else (key.asc(), id_.asc())
    return found.order_by(*order).limit(bindparam("at_most"))


def _inside(key: SortKey, column: Any) -> ColumnElement[bool]:
    type_ = _COLUMN[key].type
    low, high = (bindparam(f"{key.value}_{end}", type_=type_) for end in ("low", "high"))
    return and_(column >= low, column <= high)


def _stretch(sort: SortKey, *, keyed: bool) -> list[ColumnElement[bool]]:
    """All of an order's part."""
    column = _COLUMN[sort]
    return [_inside(sort, column) if keyed else column == literal_column(str(NONE))]


def _place(shape: Shape) -> list[ColumnElement[bool]]:
    """Where in the order the page begins and how far it may go."""
    indexed = _COLUMN[shape.sort.key]
    column: Any = indexed if shape.gathered is None else Unindexed(indexed)
    after_id = bindparam("after_id", type_=media.c.id.type)
    descends = shape.sort.descends
    if not shape.keyed:
        beyond = media.c.id < after_id if descends else media.c.id > after_id
        return [column == literal_column(str(NONE)), *([beyond] if shape.goes_on else [])]
    if not shape.goes_on:
        return [_inside(shape.sort.key, column)]
    low = column >= bindparam(f"{shape.sort.key.value}_low", type_=indexed.type)
    high = column <= bindparam(f"{shape.sort.key.value}_high", type_=indexed.type)
    here, there = tuple_(column, media.c.id), tuple_(bindparam("after_key", type_=indexed.type), after_id)
    return [here < there, low] if descends else [here > there, high]


def _filters(shape: Shape) -> list[ColumnElement[bool]]:
    by_row = shape.gathered == CONTENT_TYPE
    filters = _tenant(Unindexed(media.c.connection_id) if by_row else media.c.connection_id)
    filters.append(media.c.shown_type.in_([bindparam(f"type_{number}") for number in "abc"]))
    for key in sorted(shape.bounded):
        filters.append(_inside(key, _COLUMN[key] if key == shape.gathered else Unindexed(_COLUMN[key])))
    if by_row:
        filters.append(media.c.id.in_(_of_content_type()))
    elif shape.by_content_type:
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
