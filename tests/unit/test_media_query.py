"""The query of a page: names, bounds, defaults, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain.media_query import LIST_PARAMETERS, MEDIA_PARAMETERS, MediaQuery, Range, Sort, read_query
from mediavault.domain.times import iso8601
from mediavault.errors import InvalidRequest

MOMENT = 1_749_556_800_000  #: 2025-06-10T12:00:00Z


def test_nothing_asked_is_the_newest_hundred():
    assert read_query([]) == MediaQuery(sort=Sort.CREATED_AT_DESC, limit=100)


def test_unknown_parameters_are_ignored_even_twice():
    assert read_query([("page", "1"), ("page", "2"), ("source", "nonsense")]) == MediaQuery()


def test_the_older_path_takes_a_source_and_no_order():
    query = read_query([("source", "posts"), ("sort", "nonsense"), ("durationMin", "x")], LIST_PARAMETERS)
    assert (query.source, query.sort, query.duration) == ("posts", Sort.CREATED_AT_DESC, Range())


@pytest.mark.parametrize("name", sorted(MEDIA_PARAMETERS))
@pytest.mark.parametrize("text", ["", "\0", "é", "x" * 5000, "-1", "１", "NaN"])
def test_what_cannot_be_right_is_refused_by_name(name, text):
    if name == "contentType" and text in {"-1", "NaN"}:
        assert read_query([(name, text)]).content_type == text
        return
    if name == "cursor" and text in {"-1", "NaN"}:
        return  # the cursor's own check refuses these
    with pytest.raises(InvalidRequest, match=f"^{name} "):
        read_query([(name, text)])


@pytest.mark.parametrize("name", sorted(MEDIA_PARAMETERS))
def test_a_parameter_twice_is_refused_by_name(name):
    with pytest.raises(InvalidRequest, match=f"^{name} is given twice"):
        read_query([(name, "1"), (name, "1")])


@given(st.sampled_from(sorted(MEDIA_PARAMETERS | LIST_PARAMETERS)), st.text(max_size=60))
def test_any_text_is_read_or_refused(name, text):
    try:
        query = read_query([(name, text)], MEDIA_PARAMETERS | LIST_PARAMETERS)
    except InvalidRequest:
        return
    assert 1 <= query.limit <= 100
    assert query == MediaQuery() or len(text) >= 1


@pytest.mark.parametrize("text", ["0", "101", "1_0", "+5", " 5", "5.5", "1e1", "9" * 5000])
def test_limits_out_of_bounds(text):
    with pytest.raises(InvalidRequest, match="limit"):
        read_query([("limit", text)])


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("-0", 0), ("30", 30), ("2.5", 2.5), ("1e3", 1000)])
def test_durations(text, seconds):
    assert read_query([("durationMin", text)]).duration == Range(seconds, None)
    assert read_query([("durationMax", text)]).duration == Range(None, seconds)


@pytest.mark.parametrize("text", ["-0.1", "1e10", "1e999", "inf", "0x10", "1_0", "1,5"])
def test_durations_that_are_none(text):
    with pytest.raises(InvalidRequest, match="durationMax"):
        read_query([("durationMax", text)])


@pytest.mark.parametrize(
    "text",
    [
        "2025-06-10T12:00:00.000Z",
        "2025-06-10T12:00:00Z",
        "2025-06-10t12:00z",
        "2025-06-10 12:00:00",
        "2025-06-10T14:00:00+02:00",
        "2025-06-10T14:00:00 02:00",
        "2025-06-10T08:30:00-0330",
    ],
)
def test_moments_are_iso_8601(text):
    assert read_query([("createdAtFrom", text), ("createdAtTo", text)]).created_at == Range(MOMENT, MOMENT)


def test_a_date_alone_is_its_midnight():
    assert read_query([("cachedAtTo", "2025-06-10")]).cached_at == Range(None, MOMENT - 43_200_000)


def test_less_than_a_millisecond_is_rounded_into_the_range():
    text = "2025-06-10T12:00:00.0005Z"
    assert read_query([("createdAtFrom", text), ("createdAtTo", text)]).created_at == Range(MOMENT + 1, MOMENT)


@given(st.integers(0, 253_402_300_799_999))
def test_what_the_vault_writes_it_reads(milliseconds):
    assert read_query([("createdAtFrom", iso8601(milliseconds))]).created_at.low == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        *(str(MOMENT), "2025-02-30", "2025-06-10T24:01Z", "2025-06-10T12:00:00+25:00", "2025-06-10T12:00:60Z"),
        *("0000-01-01", "2025-W24-2", "20250610", "2025-06-10T", "2025-06-10T12", "2025-06-10T12:00:00ZZ"),
    ],
)
def test_moments_that_are_none(text):
    with pytest.raises(InvalidRequest, match="createdAtTo"):
        read_query([("createdAtTo", text)])


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_the_ends_of_time_do_not_overflow(text):
    assert read_query([("createdAtTo", text)]).created_at.is_bounded
