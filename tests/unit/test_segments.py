"""The map of what is there of an object, against a set of bytes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain.segments import Segments

POSITIONS = st.integers(0, 60)
RUNS = st.lists(st.tuples(POSITIONS, POSITIONS).map(sorted), max_size=12)


def _made(runs: list[list[int]]) -> tuple[Segments, set[int]]:
    segments, model = Segments(), set[int]()
    for start, stop in runs:
        segments.insert(start, stop)
        model |= set(range(start, stop))
    return segments, model


@given(RUNS)
def test_it_holds_what_was_inserted_in_runs_that_never_touch(runs):
    segments, model = _made(runs)
    held = list(segments)
    assert {byte for start, stop in held for byte in range(start, stop)} == model
    assert all(stop < start for (_, stop), (start, _) in pairwise(held))
    assert all(start < stop for start, stop in held)
    assert segments.total_bytes == len(model)


@given(RUNS, POSITIONS)
def test_contiguous_from_counts_to_the_first_gap(runs, position):
    segments, model = _made(runs)
    count = 0
    while position + count in model:
        count += 1
    assert segments.contiguous_from(position) == count
    assert segments.frontier == next(byte for byte in range(100) if byte not in model)


@given(RUNS, POSITIONS, POSITIONS)
def test_missing_is_exactly_what_is_not_there(runs, start, stop):
    segments, model = _made(runs)
    gaps = segments.missing(start, stop)
    assert {byte for low, high in gaps for byte in range(low, high)} == set(range(start, stop)) - model
    assert gaps == sorted(gaps)
    assert all(high < low for (_, high), (low, _) in pairwise(gaps))


@given(RUNS, POSITIONS)
def test_the_next_start_is_that_of_the_first_run_from_there_on(runs, position):
    segments, _ = _made(runs)
    assert segments.next_start(position) == min((start for start, _ in segments if start >= position), default=None)


@given(RUNS)
def test_filling_what_is_missing_makes_it_whole(runs):
    segments, _ = _made(runs)
    for start, stop in segments.missing(0, 70):
        segments.insert(start, stop)
    assert list(segments) == [(0, 70)]


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (5, 4)])
def test_what_is_no_run_is_refused(start, stop):
    with pytest.raises(ValueError):
        Segments().insert(start, stop)
