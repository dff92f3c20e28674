"""The choice of what is evicted, as a pure function."""

from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain.eviction import Candidate, choose

CANDIDATES = st.lists(
    st.builds(Candidate, st.uuids().map(str), st.integers(0, 1000), st.integers(0, 50), st.booleans()),
    max_size=30,
)
STRATEGIES = st.sampled_from(["purge_oldest", "purge_largest", "purge_smallest"])
KEYS = {
    "purge_oldest": lambda one: one.stored_at,
    "purge_largest": lambda one: -one.size_bytes,
    "purge_smallest": lambda one: one.size_bytes,
}


@given(CANDIDATES, STRATEGIES, st.integers(-5, 20_000))
def test_it_frees_enough_or_everything_and_no_more_than_needed(candidates, strategy, excess):
    chosen = choose(candidates, strategy, excess)
    freed = sum(one.size_bytes for one in chosen)
    movable = [one for one in candidates if not one.pinned and one.size_bytes]
    assert freed >= excess or sorted(chosen, key=str) == sorted(movable, key=str)
    assert not chosen or freed - chosen[-1].size_bytes < excess


@given(CANDIDATES, STRATEGIES, st.integers(1, 20_000))
def test_it_goes_by_the_strategys_order_and_never_takes_a_pinned_one(candidates, strategy, excess):
    chosen, key = choose(candidates, strategy, excess), KEYS[strategy]
    assert not any(one.pinned for one in chosen)
    left = [one for one in candidates if not one.pinned and one.size_bytes and one not in chosen]
    assert [key(one) for one in chosen] == sorted(key(one) for one in chosen)
    assert all(key(one) <= key(other) for one in chosen for other in left)


@given(CANDIDATES, st.integers(1, 20_000))
def test_block_new_evicts_nothing(candidates, excess):
    assert choose(candidates, "block_new", excess) == []
