"""What stays at the edge when not everything can: bounds, pins, and a scan that must not flush what is hot."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.copies import describe_copy
from mediavault.domain.admission import Frequencies, outranks
from mediavault.edge.copies import EdgeCopy
from mediavault.edge.lru import SegmentedLru

MINUTE = 60_000


def weigh(name: str, size_bytes: int, version: str = "v1") -> EdgeCopy:
    """A copy of that size, without its bytes."""
    copy = describe_copy(name, b"", version=version)
    return EdgeCopy(
        **{field: getattr(copy, field) for field in EdgeCopy.__struct_fields__} | {"size_bytes": size_bytes}
    )


@given(st.lists(st.integers(0, 200), max_size=300))
def test_the_sketch_never_says_too_little_while_nothing_is_halved(seen):
    frequencies = Frequencies()
    for key in seen:
        frequencies.see(str(key))
    assert all(frequencies.of(str(key)) >= min(15, seen.count(key)) for key in set(seen))


def test_the_sketch_keeps_what_it_knows_when_it_is_widened():
    frequencies = Frequencies()
    frequencies.see("hot", 9)
    before = len(frequencies)
    frequencies.make_room(5_000)
    assert before < len(frequencies) <= 5_000 * 2 * 16
    assert frequencies.of("hot") == 9


def test_old_popularity_fades():
    frequencies = Frequencies()
    frequencies.see("once hot", 15)
    for number in range(20_000):
        frequencies.see(f"new {number % 50}")
    assert frequencies.of("once hot") < frequencies.of("new 1")


@given(st.integers(0, 15), st.integers(0, 15))
def test_what_is_rarer_pushes_nothing_out(candidate, victim):
    assert outranks(candidate, victim) == (candidate > victim or (candidate == victim and victim in (0, 1)))


def test_a_loop_over_more_than_fits_still_has_hits():
    cache = Simulated(1_000)
    for _ in range(30):
        hits = sum(cache.view(f"looped {number}", 10) for number in range(150))
    assert hits >= 75


class Simulated:
    """A cache without files: what it is asked for and has not, it fetches, and holds room for meanwhile."""

    def __init__(self, capacity_bytes: int) -> None:
        self.lru = SegmentedLru(capacity_bytes)
        self.capacity_bytes = capacity_bytes
        self.now = 0
        self.most_bytes = 0

    def view(self, name: str, size_bytes: int) -> bool:
        """Whether it was there."""
        self.now += MINUTE
        if self.lru.find(name, self.now):
            return True
        self.lru.shrink(self.capacity_bytes - size_bytes, size_bytes)
        self.lru.add(weigh(name, size_bytes), self.now)
        self.most_bytes = max(self.most_bytes, self.lru.total_bytes)
        return False


@pytest.mark.parametrize("hot_share", [0.25, 0.5, 0.8])
@pytest.mark.parametrize("interleaved", [0, 1], ids=["nobody views the hot ones", "the hot ones are viewed"])
def test_a_scan_of_ten_times_the_capacity_leaves_the_hot_set_its_hits(hot_share, interleaved):
    chance = random.Random(1)
    cache = Simulated(1_000)
    sizes = {f"hot {number}": chance.randint(1, 9) for number in range(int(200 * hot_share))}
    hot = list(sizes)
    for _ in range(30):
        for name in chance.sample(hot, len(hot)):
            cache.view(name, sizes[name])
    hits = views = 0
    scanned = 0
    while scanned < 10_000:
        size_bytes = chance.randint(1, 9)
        scanned += size_bytes
        cache.view(f"scan {scanned}", size_bytes)
        for name in chance.sample(hot, 1) if interleaved and scanned % 3 == 0 else ():
            views += 1
            hits += cache.view(name, sizes[name])
    for name in hot:
        views += 1
        hits += cache.view(name, sizes[name])
    assert hits / views >= 0.9
    assert cache.most_bytes <= 1_000


def test_a_plain_lru_would_have_lost_that_hot_set():
    """The trace above means something: its scan is long enough to flush everything that has only its turn."""
    cache = Simulated(1_000)
    for number in range(100):
        cache.view(f"once {number}", 5)
    for number in range(2_000):
        cache.view(f"scan {number}", 5)
    assert not any(cache.lru.peek(f"once {number}") for number in range(100))


def test_a_new_hot_set_takes_the_place_of_the_old():
    cache = Simulated(1_000)
    for round_ in range(60):
        era = "old" if round_ < 30 else "new"
        hits = sum(cache.view(f"{era} {number}", 10) for number in range(70))
    assert hits >= 63


def test_the_ranges_of_one_viewing_are_one_use():
    lru = SegmentedLru(1_000)
    for name in ("seen once in 100 ranges", "seen twice", "seen once"):
        lru.add(weigh(name, 300), 0)
    for moment in range(100):
        lru.find("seen once in 100 ranges", moment)
    lru.find("seen twice", MINUTE)
    lru.find("seen once", 200)
    assert [copy.variant_id for copy in lru.shrink(300)] == ["seen once in 100 ranges", "seen once"]


def test_many_small_hot_copies_are_not_given_for_one_large_one():
    cache = Simulated(1_000)
    for _ in range(5):
        for number in range(80):
            cache.view(f"small {number}", 10)
    for _ in range(3):
        cache.view("large", 150)
        cache.view("another", 100)
    assert sum(cache.lru.peek(f"small {number}") is not None for number in range(80)) >= 60
    assert cache.lru.rejected > 0


def test_use_is_restored_as_far_as_it_is_remembered():
    before = SegmentedLru(1_000)
    for name in ("a", "b", "c"):
        before.add(weigh(name, 250), 0)
    before.find("b", 2 * MINUTE)
    after = SegmentedLru(1_000)
    for used in before.uses():
        after.restore(weigh(used.variant_id, 250), used.used_at, used.frequency)
    assert [copy.variant_id for copy in after.shrink(250)] == ["a", "c"]


NAMES = st.sampled_from("abcdefgh")
STEPS = st.one_of(
    st.tuples(st.just("view"), NAMES, st.integers(0, 400)),
    st.tuples(st.just("open"), NAMES, st.just(0)),
    st.tuples(st.just("close"), NAMES, st.just(0)),
    st.tuples(st.just("remove"), NAMES, st.just(0)),
    st.tuples(st.just("shrink"), NAMES, st.integers(0, 1_000)),
)


@given(st.lists(STEPS, max_size=60))
def test_whatever_happens_the_sums_are_right_and_what_is_open_stays(steps):
    lru, held, model = SegmentedLru(1_000), dict[str, EdgeCopy](), dict[str, EdgeCopy]()
    for now, (action, name, number) in enumerate(steps):
        if action == "view" and lru.find(name, now * MINUTE) is None:
            model[name] = weigh(name, number)
            lru.add(model[name], now)
        elif action == "open" and name in model and name not in held:
            held[name] = model[name]
            lru.opened(held[name])
        elif action == "close" and name in held:
            lru.closed(held.pop(name))
        elif action == "remove":
            assert lru.remove(name) == model.pop(name, None)
            if name in held:
                lru.closed(held.pop(name))
        elif action == "shrink":
            gone = lru.shrink(number)
            assert not {copy.variant_id for copy in gone} & set(held)
            for copy in gone:
                assert model.pop(copy.variant_id) == copy
            assert lru.total_bytes <= number or set(model) == set(held)
        assert lru.total_bytes == sum(copy.size_bytes for copy in model.values())
        assert len(lru) == len(model)
        assert lru.readers == len(held)
        assert all(lru.peek(name) == copy for name, copy in model.items())
        assert len(list(lru.uses())) == len(model)
