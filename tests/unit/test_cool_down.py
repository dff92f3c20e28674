"""How long a failing origin is left alone: its Retry-After within bounds, nonsense not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain.cool_down import cool_down_ms
from mediavault.domain.times import DAY, HOUR, SECOND

NOW = 1_700_000_000_000  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (None, 5_000),
        ("30", 30_000),
        ("1", 5_000),
        ("0", 5_000),
        ("7200", HOUR),
        ("86400", HOUR),
        ("86401", 5_000),
        ("1" + "0" * 12, 5_000),
        ("9" * 5_000, 5_000),
        ("-1", 5_000),
        ("1.5", 5_000),
        ("soon, -1", 5_000),
        ("٣٣", 5_000),
        ("", 5_000),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60_000),
        ("Tue, 14 Nov 2023 21:00:00 GMT", 5_000),
        ("Tue, 14 Nov 2099 21:00:00 GMT", 5_000),
    ],
)
def test_a_retry_after_is_honoured_within_bounds_and_nonsense_is_not(told, expected):
    assert cool_down_ms(5 * SECOND, told, NOW, HOUR) == expected


@given(st.text(max_size=40) | st.integers(0, 10**20).map(str), st.integers(0, DAY), st.integers(0, DAY))
def test_whatever_is_said_the_cool_down_has_its_bounds(told, least_ms, longest_ms):
    assert least_ms <= cool_down_ms(least_ms, told, NOW, longest_ms) <= max(least_ms, longest_ms)
