"""A time by which something must have happened: moved at every request, and yet one timer a connection."""

import asyncio
from collections.abc import Callable

_NEVER = float("inf")


class Deadline:
    """Rings once the time has come. Moving it to a later time costs no timer: the one that runs looks again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None], *, look_seconds: float) -> None:
        self._loop = loop
        self._ring = ring
        self._look_seconds = look_seconds
        self._at = self._timer_at = _NEVER
        self._timer: asyncio.TimerHandle | None = None

    def move(self, seconds: float) -> None:
        """So long from now."""
        self._at = self._loop.time() + seconds
        if self._at < self._timer_at:
            self._set(self._at)

    def lift(self) -> None:
        """Nothing is waited for."""
        self._at = _NEVER

    def close(self) -> None:
        """It never rings again."""
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, at: float) -> None:
        self.close()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        if now >= self._at:
            self._timer_at = _NEVER
            self._ring()
        else:  # also where nothing is waited for now: it may be soon
            self._set(min(self._at, now + self._look_seconds))
