"""How long an origin that failed is left alone."""

from mediavault.domain.retry_after import told_wait_ms
from mediavault.domain.times import DAY


def cool_down_ms(least_ms: int, told: str | None, now: int, longest_ms: int) -> int:
    """`least_ms`, or what the origin's Retry-After says where that is longer, up to `longest_ms`.

    `told` is the header as it was written. An origin that wants to be left alone for more than a day has a broken
    clock or says nonsense: that is not believed at all.
    """
    told_ms = told_wait_ms(told, now, DAY + 1)
    return max(least_ms, min(told_ms, longest_ms) if told_ms <= DAY else 0)
