"""Pacing of upstream calls, on the loop's own clock, which stands still until it is moved."""

import asyncio

import pytest

from mediavault.errors import TooManyRequests
from mediavault.origin.pacing import Pace, PaceConfig, Pacing

CONFIG = PaceConfig(calls_per_second=5, burst=10, most_at_once=4, longest_wait_seconds=2.1)


class Clock:
    """The loop's time, by hand; only what does not sleep may be asked under it."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def clock(monkeypatch) -> Clock:
    standing = Clock()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", standing)
    return standing


async def test_a_burst_goes_at_once_and_the_rest_one_by_one(clock):
    pace = Pace(CONFIG)
    waits = [round(pace.book(), 6) for _ in range(13)]
    assert waits == [0.0] * 10 + [0.2, 0.4, 0.6]


async def test_a_pause_earns_the_burst_back_but_no_more(clock):
    pace = Pace(CONFIG)
    for _ in range(12):
        pace.book()
    clock.now += 1  # five calls' worth, two of them owed
    assert [round(pace.book(), 6) for _ in range(4)] == [0, 0, 0, 0.2]
    clock.now += 3600
    assert [round(pace.book(), 6) for _ in range(11)] == [0.0] * 10 + [0.2]


async def test_a_wait_that_would_be_too_long_is_refused_and_takes_no_slot(clock):
    pace = Pace(CONFIG)
    for _ in range(20):
        pace.book()
    for _ in range(3):
        with pytest.raises(TooManyRequests) as refused:
            pace.book()
        assert refused.value.retry_after == 3
    clock.now += 0.2
    assert pace.book() == pytest.approx(2)


async def test_over_any_long_time_the_rate_is_kept(clock):
    pace, taken = Pace(CONFIG), 0
    for _ in range(1000):
        clock.now += 0.1
        try:
            pace.book()
            taken += 1
        except TooManyRequests:
            pass
    assert taken <= 100 * CONFIG.calls_per_second + CONFIG.burst + 11


async def test_connections_do_not_wait_for_each_other(clock):
    pacing = Pacing(CONFIG)
    for _ in range(19):
        pacing.of("busy").book()
    assert pacing.of("busy").book() == pytest.approx(2)
    assert pacing.of("quiet").book() == 0


async def test_only_so_many_calls_are_under_way_and_each_leaves_its_seat():
    pace = Pace(PaceConfig(calls_per_second=1000, burst=100, most_at_once=2, longest_wait_seconds=5))
    under_way = most = 0
    go, full = asyncio.Event(), asyncio.Event()

    async def call(*, fails: bool) -> None:
        nonlocal under_way, most
        async with pace.turn():
            under_way += 1
            most = max(most, under_way)
            if under_way == 2:
                full.set()
            try:
                await go.wait()
                if fails:
                    raise ValueError
            finally:
                under_way -= 1

    calls = [asyncio.create_task(call(fails=bool(number % 2))) for number in range(8)]
    await full.wait()
    calls[-1].cancel()  # one that waits for its seat
    go.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert (most, under_way) == (2, 0)
    assert [type(outcome) for outcome in outcomes].count(ValueError) == 3
    async with asyncio.timeout(1), pace.turn():
        pass


async def test_who_waits_too_long_for_a_seat_is_refused():
    pace = Pace(PaceConfig(most_at_once=1, longest_wait_seconds=0.05))
    async with pace.turn():
        with pytest.raises(TooManyRequests):
            async with pace.turn():
                raise AssertionError("there was no seat")
    async with pace.turn():
        pass


async def test_the_longest_unused_connection_is_forgotten_first(monkeypatch):
    monkeypatch.setattr(Pacing, "_MOST", 2)
    pacing = Pacing(CONFIG)
    first, second = pacing.of("first"), pacing.of("second")
    assert pacing.of("first") is first
    pacing.of("third")
    assert pacing.of("first") is first
    assert pacing.of("second") is not second
