"""Range headers: a table of cases, and properties against a naive reading."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain.byte_ranges import MAX_RANGES, Partial, Slice, Unsatisfiable, Whole, parse, starts_at_zero

SIZE = 1000
HUGE = "9" * 5_000


@pytest.mark.parametrize(
    ("header", "start", "length"),
    [
        ("bytes=0-8", 0, 9),
        ("bytes=-10", 990, 10),
        ("bytes=990-", 990, 10),
        ("bytes=990-1990", 990, 10),
        ("bytes=-5000", 0, 1000),
        ("bytes=0-", 0, 1000),
        ("bytes=0-0", 0, 1),
        ("bytes=999-999", 999, 1),
        ("bytes=0-999", 0, 1000),
        ("bytes=007-0008", 7, 2),
        ("BYTES=0-8", 0, 9),
        ("  bytes=0-8\t", 0, 9),
        ("bytes=0-8,", 0, 9),
        ("bytes=,,0-8", 0, 9),
        ("bytes=0-8,5000-", 0, 9),
        ("bytes=-0,0-8", 0, 9),
        (f"bytes=0-{HUGE}", 0, 1000),
        (f"bytes=-{HUGE}", 0, 1000),
        (f"bytes={'0' * 5_000}5-6", 5, 2),
    ],
)
def test_one_slice(header, start, length):
    assert parse(header, SIZE) == Partial((Slice(start, length),))


@pytest.mark.parametrize(
    "header",
    ["bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=-000", f"bytes={HUGE}-", "bytes=5000-,-0", "bytes=1000-1000"],
)
def test_no_byte_is_there(header):
    assert parse(header, SIZE) == Unsatisfiable()


@pytest.mark.parametrize(
    "header",
    [
        "bytes=8-0",
        "bytes=500-499",
        "bytes=5000-4000",
        f"bytes={HUGE}-5",
        f"bytes={HUGE}9-{HUGE}8",
        "bytes=a-b",
        "bytes=0x0-0x8",
        "bytes=+0-8",
        "bytes=0-+8",
        "bytes=--8",
        "bytes=0--8",
        "bytes=-1-8",
        "bytes=1_0-2_0",
        "bytes=٣-٤",
        "bytes=0-８",
        "bytes=²-³",
        "bytes=0 -8",
        "bytes=0- 8",
        "bytes= 0-8",
        "bytes =0-8",
        "bytes=-",
        "bytes=",
        "bytes=,",
        "bytes",
        "bytes 0-8",
        "bytes=0-8;10-12",
        "bytes=0-8,x",
        "bytes=0-8\n",
        "bytes=0-8\x00",
        "bytes=bytes=0-8",
        "items=0-8",
        "bytesx=0-8",
        "0-8",
        "",
        " ",
        "=",
        "bytes=0-8,8-0",
        "bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(MAX_RANGES + 1)),
        "bytes=0-8" + "," * MAX_RANGES,
    ],
)
def test_ignored(header):
    assert parse(header, SIZE) == Whole()


def test_no_header_is_whole():
    assert parse(None, SIZE) == Whole()


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-5", "bytes=-0", "bytes=7-", "bytes=0-1,2-3"])
@pytest.mark.parametrize("size", [0, None])
def test_an_empty_object_or_an_unknown_size_is_whole(header, size):
    assert parse(header, size) == Whole()


@pytest.mark.parametrize(
    ("header", "slices"),
    [
        ("bytes=0-8,20-29", ((0, 9), (20, 10))),
        ("bytes=0-8 , 20-29", ((0, 9), (20, 10))),
        ("bytes=20-29\t,\t0-8", ((20, 10), (0, 9))),
        ("bytes=0-8,9-19", ((0, 20),)),
        ("bytes=0-8,10-19", ((0, 9), (10, 10))),
        ("bytes=9-19,0-8", ((0, 20),)),
        ("bytes=0-100,50-150", ((0, 151),)),
        ("bytes=0-100,20-30", ((0, 101),)),
        ("bytes=20-30,0-100", ((0, 101),)),
        ("bytes=500-599,0-9,590-699", ((500, 200), (0, 10))),
        ("bytes=0-,0-,0-,0-", ((0, 1000),)),
        ("bytes=0-499,-500", ((0, 1000),)),
        ("bytes=-5,0-4", ((995, 5), (0, 5))),
        ("bytes=0-0,4000-,2-2", ((0, 1), (2, 1))),
    ],
)
def test_several_slices(header, slices):
    assert parse(header, SIZE) == Partial(tuple(Slice(*each) for each in slices))


def test_as_many_ranges_as_the_cap_allows():
    header = "bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(MAX_RANGES))
    assert parse(header, SIZE) == Partial(tuple(Slice(2 * n, 1) for n in range(MAX_RANGES)))


def test_content_range_names_first_and_last_byte():
    assert Slice(990, 10).content_range(1000) == "bytes 990-999/1000"
    assert Slice(0, 1).content_range(1) == "bytes 0-0/1"


@pytest.mark.parametrize(
    ("header", "size", "is_view"),
    [
        (None, None, True),
        (None, SIZE, True),
        ("bytes=0-", None, True),
        ("bytes=0-0", SIZE, True),
        ("bytes=000-5", None, True),
        ("bytes=1-", None, False),
        ("bytes=1-", SIZE, False),
        ("bytes=500-,0-5", None, True),
        ("bytes=500-,0-5", SIZE, True),
        ("bytes=-10", None, False),
        ("bytes=-10", SIZE, False),
        ("bytes=-1000", SIZE, True),
        ("bytes=-5000", SIZE, True),
        ("bytes=-0", SIZE, False),
        ("bytes=5000-", SIZE, False),
        ("bytes=5-", 0, True),
        ("nonsense", None, True),
        ("bytes=8-0", SIZE, True),
        ("lines=5-8", SIZE, True),
    ],
)
def test_what_counts_as_a_view(header, size, is_view):
    assert starts_at_zero(header, size) is is_view


Spec = tuple[int | None, int | None]

sizes = st.integers(1, 200)
positions = st.integers(0, 250)
range_specs: st.SearchStrategy[Spec] = st.one_of(
    st.tuples(positions, st.integers(0, 250)).map(lambda pair: (pair[0], pair[0] + pair[1])),
    st.tuples(positions, st.none()),
    st.tuples(st.none(), positions),
)


def spelled(spec: Spec) -> str:
    return "-".join("" if number is None else str(number) for number in spec)


def asked_for(spec: Spec, size: int) -> set[int]:
    """The offsets one range names, read naively, byte by byte."""
    first, last = spec
    if first is None:
        return set(range(size)[-last:]) if last else set()
    return {at for at in range(size) if at >= first and (last is None or at <= last)}


@given(sizes, st.lists(range_specs, min_size=1, max_size=MAX_RANGES))
def test_slices_are_what_a_naive_reading_gives(size, specs):
    outcome = parse("bytes=" + ",".join(map(spelled, specs)), size)
    wanted = set().union(*(asked_for(spec, size) for spec in specs))
    if not wanted:
        assert outcome == Unsatisfiable()
        return
    assert isinstance(outcome, Partial)
    sent = [at for each in outcome.slices for at in range(each.start, each.stop)]
    assert set(sent) == wanted
    assert len(sent) == len(wanted), "no byte is sent twice"


@given(sizes, st.lists(range_specs, min_size=2, max_size=MAX_RANGES))
def test_slices_never_touch_and_keep_the_order_asked_for(size, specs):
    outcome = parse("bytes=" + ",".join(map(spelled, specs)), size)
    slices = outcome.slices if isinstance(outcome, Partial) else ()
    for one, next_one in zip(by_start := sorted(slices, key=lambda each: each.start), by_start[1:], strict=False):
        assert one.stop < next_one.start

    def first_asked(piece: Slice) -> int:
        covered = set(range(piece.start, piece.stop))
        return next(place for place, spec in enumerate(specs) if asked_for(spec, size) & covered)

    assert list(map(first_asked, slices)) == sorted(map(first_asked, slices))


headers = st.one_of(
    st.text(),
    st.text(alphabet="0123456789-, \tbytes=+_٣").map("bytes=".__add__),
)


@given(headers, st.none() | st.integers(0, 10**30))
def test_any_header_has_an_outcome_inside_the_object(header, size):
    outcome = parse(header, size)
    assert isinstance(starts_at_zero(header, size), bool)
    assert isinstance(starts_at_zero(header), bool)
    for each in outcome.slices if isinstance(outcome, Partial) else ():
        assert size is not None
        assert 0 <= each.start < each.stop <= size


@pytest.mark.parametrize(
    "header",
    [
        "bytes=" + "," * 100_000,
        "bytes=" + "0-0," * 100_000,
        "bytes=" + "0" * 1_000_000 + "-",
        "bytes=" + "-" * 1_000_000,
        "bytes=0-" + " " * 1_000_000,
        "bytes=0-" + " " * 1_000_000 + "x",
    ],
)
def test_hostile_headers_cost_linear_time(header):
    """A quadratic reading of these takes minutes; the bound is wide enough for a busy machine."""
    began = time.process_time()
    parse(header, SIZE)
    starts_at_zero(header)
    assert time.process_time() - began < 1
