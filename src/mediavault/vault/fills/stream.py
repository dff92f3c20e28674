"""One origin answer on its way into a fill's file: where it is, how far it goes, and how far it is read."""

import asyncio

#: A reader who wants bytes so little ahead of an answer waits for it: another request would not be there sooner.
NEAR_BYTES = 1 << 20
#: How far an answer that nobody wants whole runs ahead of its readers.
WINDOW_BYTES = 8 << 20


class Stream:
    """An answer from `start` to `stop` (None: to the end), written up to `position`."""

    def __init__(self, start: int, stop: int | None) -> None:
        self.start = start
        self.stop = stop
        self.position = start
        self.asked = start  #: how far readers want it
        self.is_only_way = False  #: the origin knows no ranges: whoever waits, waits for this
        self.moved = asyncio.Event()  #: a reader came nearer

    @property
    def done(self) -> bool:
        """Whether it has all it was started for."""
        return self.stop is not None and self.position >= self.stop

    @property
    def is_far_ahead(self) -> bool:
        """Whether it has run as far ahead of its readers as it may."""
        return self.position - self.asked >= WINDOW_BYTES

    def reaches(self, position: int) -> bool:
        """Whether a reader who wants this byte should wait for it."""
        if self.is_only_way:
            return True
        return 0 <= position - self.position <= NEAR_BYTES and (self.stop is None or position < self.stop)

    def note(self, position: int) -> None:
        """A reader is at this byte."""
        limit = self.position + (1 << 62 if self.is_only_way else NEAR_BYTES)
        if self.asked < position <= limit and position >= self.start:
            self.asked = position
            self.moved.set()
