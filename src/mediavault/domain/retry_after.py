"""`Retry-After` (RFC 9110, section 10.2.3): how long somebody asks to be left alone."""

import re
from email.utils import parsedate_to_datetime

from mediavault.domain.times import SECOND

_SECONDS = re.compile(r"[0-9]+", re.ASCII)
_MOST_DIGITS = 12
_DATE = re.compile(r"[A-Za-z]{3,9},? .{1,40}", re.ASCII)


def told_wait_ms(text: str | None, now: int, longest_ms: int) -> int:
    """How long to wait from now on, at most `longest_ms`; 0 for a moment in the past, for nonsense and for nothing."""
    if text is None:
        return 0
    given = text.strip(" \t")
    if _SECONDS.fullmatch(given):
        seconds = given.lstrip("0")
        return longest_ms if len(seconds) > _MOST_DIGITS else min(longest_ms, int(seconds or "0") * SECOND)
    if not _DATE.fullmatch(given):
        return 0
    try:
        until = round(parsedate_to_datetime(given).timestamp() * SECOND)
    except (ValueError, OverflowError):
        return 0
    return min(longest_ms, max(0, until - now))
