"""The race between the two ways to read a page: it ends, ends right, and costs little more than the cheaper way."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from mediavault.catalog.planning import FURTHER, START, gathered

SIZES = st.integers(0, 10**7)


class Course:
    """Filters that let so many media through, and an order that needs so long a look; what was looked at is counted."""

    def __init__(self, sizes: dict[str, int], walk: int) -> None:
        self.sizes, self.walk, self.looked_at = sizes, walk, 0

    async def passed(self, name: str, up_to: int) -> int:
        counted = min(self.sizes[name], up_to)
        self.looked_at += counted
        return counted

    async def is_walked(self, looked_at: int) -> bool:
        self.looked_at += min(looked_at, self.walk)
        return looked_at >= self.walk

    def run(self, cost: int = 1) -> str | None:
        race = gathered(sorted(self.sizes), self.passed, self.is_walked, cost)
        return asyncio.run(race)


@given(st.dictionaries(st.sampled_from("abc"), SIZES, min_size=1), SIZES, st.sampled_from([1, 10]))
def test_the_race_costs_a_few_times_the_cheaper_way(sizes, walk, cost):
    course = Course(sizes, walk)
    course.run(cost)
    cheaper = max(START, min(walk, cost * (min(sizes.values()) + 1)))
    rounds = FURTHER * FURTHER / (FURTHER - 1)  # each goes FURTHER than the one before, the last at most past the goal
    assert course.looked_at <= (len(sizes) + 1) * rounds * (cheaper + 1)


@given(st.dictionaries(st.sampled_from("abc"), SIZES, min_size=1), SIZES, st.sampled_from([1, 10]))
def test_what_wins_is_no_more_than_a_round_worse(sizes, walk, cost):
    winner = Course(sizes, walk).run(cost)
    costs = {None: walk, **{name: cost * size for name, size in sizes.items()}}
    assert costs[winner] <= max(START, FURTHER * (min(costs.values()) + cost))


def test_a_filter_that_lets_few_through_is_gathered_from():
    assert Course({"a": 10**6, "b": 900}, 10**6).run() == "b"


def test_an_order_that_meets_what_is_asked_for_soon_is_walked():
    assert Course({"a": 10**6}, 40).run() is None


def test_gathering_that_looks_into_rows_must_let_fewer_through():
    assert Course({"a": 900}, 40).run() == "a"
    assert Course({"a": 900}, 40).run(cost=10) is None


def test_without_a_filter_there_is_nothing_to_gather_from():
    course = Course({}, 10**6)
    assert course.run() is None
    assert course.looked_at == 0
