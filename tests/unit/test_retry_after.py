"""`Retry-After`: seconds or a date, never longer than we wait for anybody, and never an error."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.domain.retry_after import told_wait_ms

NOW = 1_750_000_000_000
LONGEST = 3_600_000


@pytest.mark.parametrize(
    ("text", "wait_ms"),
    [
        (None, 0),
        ("", 0),
        ("0", 0),
        ("120", 120_000),
        (" 7\t", 7_000),
        ("0000000000000000000007", 7_000),
        ("9" * 5_000, LONGEST),
        ("3601", LONGEST),
        ("-1", 0),
        ("1.5", 0),
        ("+5", 0),
        ("١٢", 0),
        ("5, 6", 0),
        ("Sun, 15 Jun 2025 15:07:40 GMT", 60_000),
        ("Sunday, 15-Jun-25 15:07:40 GMT", 60_000),
        ("Sun, 15 Jun 2025 15:06:40 GMT", 0),
        ("Sun, 15 Jun 1999 15:06:40 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST),
        ("Fri, 99 Dec 2025 23:59:59 GMT", 0),
        ("soon", 0),
    ],
)
def test_what_is_told(text: str | None, wait_ms: int):
    assert told_wait_ms(text, NOW, LONGEST) == wait_ms


@given(st.integers(0, 10_000_000))
def test_a_date_is_waited_for_as_long_as_the_same_seconds(seconds: int):
    date = formatdate(NOW // 1000 + seconds, usegmt=True)
    assert told_wait_ms(date, NOW, LONGEST) == told_wait_ms(str(seconds), NOW, LONGEST)


@given(st.one_of(st.text(), st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Za-z]{3} \d+ \d+:\d+:\d+ \S+", fullmatch=True)))
def test_whatever_a_receiver_sends_is_a_wait_within_bounds(text: str):
    assert 0 <= told_wait_ms(text, NOW, LONGEST) <= LONGEST
