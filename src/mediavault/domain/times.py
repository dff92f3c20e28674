"""Times are integers: Unix milliseconds, UTC."""

from collections.abc import Callable
from datetime import UTC, datetime

#: Gives the present in Unix milliseconds. Injected, so that tests own the clock.
Now = Callable[[], int]

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def iso8601(milliseconds: int) -> str:
    """The contract's text form: UTC, milliseconds, `Z`."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"
