"""Cursors: they come back as they went out, and nothing else is taken."""

import base64
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mediavault.domain.cursor import Position, read_cursor, write_cursor
from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType, Source
from mediavault.domain.media_query import MediaQuery, Range, Sort, SortKey
from mediavault.errors import InvalidRequest

IDS = st.binary(min_size=16, max_size=16).map(bytes.hex)
SORTS = st.sampled_from(Sort)


def keys(sort: Sort) -> st.SearchStrategy[int | float | None]:
    times = st.integers(0, 2**53)
    if sort.key is SortKey.CREATED_AT:
        return times
    return st.none() | (times if sort.key is SortKey.CACHED_AT else st.floats(0, 1e9))


@given(data=st.data(), sort=SORTS, row_id=IDS)
def test_a_cursor_says_where_it_was_written(data, sort, row_id):
    position, query = Position(data.draw(keys(sort)), row_id), MediaQuery(sort=sort)
    cursor = write_cursor(position, query, "conn_a")
    assert read_cursor(replace(query, cursor=cursor, limit=3), "conn_a") == position
    assert len(cursor) <= 100


@given(data=st.data(), sort=SORTS, row_id=IDS)
def test_one_changed_character_is_another_place_of_the_same_question_or_refused(data, sort, row_id):
    """The encoding is canonical: no two texts mean one position."""
    query = MediaQuery(sort=sort)
    cursor = write_cursor(Position(data.draw(keys(sort)), row_id), query, "conn_a")
    place = data.draw(st.integers(0, len(cursor) - 1))
    changed = cursor[:place] + data.draw(st.sampled_from("AZaz09-_")) + cursor[place + 1 :]
    assume(changed != cursor)
    try:
        position = read_cursor(replace(query, cursor=changed), "conn_a")
    except InvalidRequest:
        return
    assert position is not None
    assert write_cursor(position, query, "conn_a") == changed


@given(st.text("ABYZabyz0189-_", max_size=100))
def test_garbage_is_refused(text):
    with pytest.raises(InvalidRequest, match="cursor"):
        read_cursor(MediaQuery(cursor=text), "conn_a")


OTHERS = [
    MediaQuery(sort=Sort.CREATED_AT_ASC),
    MediaQuery(status=Status.STORED),
    MediaQuery(type=MediaType.VIDEO),
    MediaQuery(content_type="image/jpeg"),
    MediaQuery(source=Source.VAULT),
    MediaQuery(created_at=Range(low=0)),
    MediaQuery(created_at=Range(high=0)),
    MediaQuery(cached_at=Range(low=0)),
    MediaQuery(duration=Range(low=0)),
]


@pytest.mark.parametrize("other", OTHERS)
def test_a_cursor_of_another_question_is_refused(other):
    cursor = write_cursor(Position(1, "00" * 16), MediaQuery(), "conn_a")
    with pytest.raises(InvalidRequest, match="another sort, filter or connection"):
        read_cursor(replace(other, cursor=cursor), "conn_a")
    assert len({query.digest("conn_a") for query in [MediaQuery(), *OTHERS]}) == len(OTHERS) + 1


def test_a_cursor_of_another_connection_is_refused():
    cursor = write_cursor(Position(1, "00" * 16), MediaQuery(), "conn_a")
    with pytest.raises(InvalidRequest, match="another sort, filter or connection"):
        read_cursor(MediaQuery(cursor=cursor), "conn_b")


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        *((sort, key) for sort in Sort for key in (float("nan"), float("inf"), -0.5, -2.0, 2.0**60)),
        (Sort.CREATED_AT_DESC, -1.0),
        (Sort.CREATED_AT_DESC, 0.5),
        (Sort.CACHED_AT_ASC, 0.5),
    ],
)
def test_a_key_that_no_item_can_have_is_refused(sort, key):
    query = MediaQuery(sort=sort)
    cursor = write_cursor(Position(key, "00" * 16), query, "conn_a")
    with pytest.raises(InvalidRequest, match="cursor"):
        read_cursor(replace(query, cursor=cursor), "conn_a")


def test_another_version_is_refused():
    cursor = write_cursor(Position(1, "00" * 16), MediaQuery(), "conn_a")
    content = base64.urlsafe_b64decode(cursor + "==")
    other = base64.urlsafe_b64encode(b"\2" + content[1:]).decode().rstrip("=")
    with pytest.raises(InvalidRequest, match="cursor"):
        read_cursor(MediaQuery(cursor=other), "conn_a")
