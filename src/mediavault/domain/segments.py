"""Which bytes of an object are there: a map of segments that grows in any order."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Segments:
    """Disjoint runs of bytes, sorted, none touching another. All positions are offsets; a stop is exclusive."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def insert(self, start: int, stop: int) -> None:
        """Add a run; what it overlaps or touches becomes one with it. An empty run adds nothing."""
        if start < 0 or stop < start:
            raise ValueError(f"no run of bytes: {start} to {stop}")
        if start == stop:
            return
        first = bisect_left(self._stops, start)
        after = bisect_right(self._starts, stop)
        if first < after:
            start = min(start, self._starts[first])
            stop = max(stop, self._stops[after - 1])
        self._starts[first:after] = [start]
        self._stops[first:after] = [stop]

    def contiguous_from(self, position: int) -> int:
        """How many bytes there are from this one on, without a gap; 0 where it is missing."""
        place = bisect_right(self._starts, position) - 1
        return max(0, self._stops[place] - position) if place >= 0 else 0

    def next_start(self, position: int) -> int | None:
        """Where the first run begins that starts at this byte or later."""
        place = bisect_left(self._starts, position)
        return self._starts[place] if place < len(self._starts) else None

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The gaps within [start, stop), in order."""
        gaps, position = [], start
        while position < stop:
            held = self.contiguous_from(position)
            if held:
                position += held
                continue
            following = self.next_start(position)
            end = stop if following is None else min(stop, following)
            gaps.append((position, end))
            position = end
        return gaps

    @property
    def frontier(self) -> int:
        """The first byte that is missing."""
        return self.contiguous_from(0)

    @property
    def total_bytes(self) -> int:
        """How many bytes there are."""
        return sum(self._stops) - sum(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._starts, self._stops, strict=True))
