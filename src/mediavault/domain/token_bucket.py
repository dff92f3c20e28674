"""Rates: token buckets by key, one number each, in bounded memory.

A bucket is kept as the time at which it will be full again (the generic cell rate algorithm), on any clock that does
not go back. What is kept of keys lies in two generations: when the young one is full, it becomes the old one, and what
nobody used since the last change is forgotten. A forgotten bucket is a full one.
"""

from dataclasses import dataclass

#: Of seconds: sums of floats on a clock that has run for years are off by less.
_EXACT = 1e-6


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so many seconds: all at once after a pause, and as many evenly after that."""

    amount: int
    seconds: float = 60.0

    @property
    def each_seconds(self) -> float:
        """The time in which one comes back."""
        return self.seconds / self.amount


class Buckets:
    """A bucket for every key that was used lately."""

    __slots__ = ("_each", "_most", "_old", "_span", "_young", "rate")

    def __init__(self, rate: Rate, most: int = 10_000) -> None:
        """At least `most` keys are remembered, and at most twice as many."""
        self.rate = rate
        self._each = rate.each_seconds
        self._span = rate.seconds + _EXACT
        self._most = most
        self._young: dict[object, float] = {}
        self._old: dict[object, float] = {}

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._young.keys() | self._old.keys())

    def take(self, key: object, now: float) -> float:
        """Take one; the seconds until the bucket is full again. Where there is none, nothing is taken, and the answer
        is negative: the seconds to wait."""
        full_at = self._young.get(key)
        if full_at is None:
            full_at = self._recalled(key)
        full_in = (full_at - now if full_at > now else 0.0) + self._each
        if full_in > self._span:
            return self._span - full_in
        self._young[key] = now + full_in
        return full_in

    def give_back(self, key: object, now: float) -> None:
        """Undo a `take`."""
        full_at = self._young.get(key)
        if full_at is not None:
            self._young[key] = max(now, full_at - self._each)

    def _recalled(self, key: object) -> float:
        """The state of a key that the young generation does not know; there is room for it afterwards."""
        full_at = self._old.get(key, 0.0)
        if len(self._young) >= self._most:
            self._old, self._young = self._young, {}
        if full_at:
            self._young[key] = full_at  # who is refused is in use too
        return full_at
