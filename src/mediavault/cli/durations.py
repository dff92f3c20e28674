"""Durations as people write them on a command line: 30s, 15m, 24h, 90d."""

import re

from mediavault.domain.times import DAY, HOUR, MINUTE, SECOND
from mediavault.errors import InvalidRequest

_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)


def milliseconds(text: str) -> int:
    """A number and its unit, in milliseconds. Raises InvalidRequest."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise InvalidRequest(f"a duration is a number with its unit, such as 30s, 15m, 24h or 90d; not {text!r}")
    return int(found[1]) * _UNITS[found[2]]
