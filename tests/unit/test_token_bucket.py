"""Token buckets: never more than the rate allows, never less, and a bounded memory."""

from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain.token_bucket import Buckets, Rate

_PAUSES = st.lists(st.floats(0, 5, allow_nan=False), max_size=200)


@given(st.integers(1, 50), st.floats(0.5, 60), _PAUSES)
def test_a_bucket_gives_what_a_plain_model_of_it_gives(amount, seconds, pauses):
    buckets = Buckets(Rate(amount, seconds))
    tokens, now = float(amount), 1000.0
    for pause in pauses:
        now += pause
        tokens = min(float(amount), tokens + pause * amount / seconds)
        told = buckets.take("k", now)
        if told >= 0:
            assert tokens > 1 - 1e-3 * amount
            tokens -= 1
            assert abs(told - (amount - tokens) * seconds / amount) < 1e-3
        else:
            assert tokens < 1 + 1e-3 * amount
            assert abs(-told - (1 - tokens) * seconds / amount) < 1e-3


def test_all_at_once_then_one_each_interval():
    buckets = Buckets(Rate(5, 10))
    assert [buckets.take("k", 7.0) >= 0 for _ in range(7)] == [True] * 5 + [False] * 2
    wait = -buckets.take("k", 7.0)
    assert abs(wait - 2) < 1e-3
    assert buckets.take("k", 7.0 + wait) >= 0
    assert buckets.take("k", 7.0 + wait) < 0


def test_keys_do_not_share_a_bucket():
    buckets = Buckets(Rate(1))
    assert buckets.take("a", 1.0) >= 0
    assert buckets.take("a", 1.0) < 0
    assert buckets.take("b", 1.0) >= 0


def test_what_is_given_back_can_be_taken_again_and_no_more_than_was_taken():
    buckets = Buckets(Rate(2))
    assert buckets.take("k", 1.0) >= 0
    for _ in range(5):
        buckets.give_back("k", 1.0)
    assert [buckets.take("k", 1.0) >= 0 for _ in range(3)] == [True, True, False]


def test_a_flood_of_names_takes_a_bounded_memory():
    buckets = Buckets(Rate(1), most=100)
    for number in range(10_000):
        buckets.take(f"name {number}", 1.0)
    assert len(buckets) <= 200


def test_who_keeps_asking_is_not_forgotten_in_a_flood_of_names():
    buckets = Buckets(Rate(1), most=100)
    buckets.take("busy", 1.0)
    for number in range(1_000):
        buckets.take(f"name {number}", 1.0)
        assert number % 50 or buckets.take("busy", 1.0) < 0
