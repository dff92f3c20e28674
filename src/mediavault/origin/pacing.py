"""Paces calls to upstreams: a vault must not get an account banned."""

import asyncio
import math
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mediavault.errors import TooManyRequests


@dataclass(frozen=True)
class PaceConfig:
    """How fast one connection's upstream account may be used."""

    calls_per_second: float = 5
    burst: int = 10  #: calls that may go at once after a pause
    most_at_once: int = 4
    longest_wait_seconds: float = 20  #: a call that would wait longer is refused with 429


class Bucket:
    """A rate with a burst, over seconds of any clock that does not go back. A rate of 0 is no limit."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._interval = 1 / per_second if per_second > 0 else 0.0
        self._credit = (burst - 1) * self._interval
        self._next_at = -math.inf

    def ready_in(self, now: float) -> float:
        """The seconds until the next slot, 0 where there is one."""
        return max(0.0, max(self._next_at, now - self._credit) - now)

    def take(self, now: float) -> None:
        """Take the next slot."""
        self._next_at = max(self._next_at, now - self._credit) + self._interval


class Pace:
    """One connection's bucket of calls and its seats."""

    def __init__(self, config: PaceConfig) -> None:
        self._config = config
        self._seats = asyncio.Semaphore(config.most_at_once)
        self._bucket = Bucket(config.calls_per_second, config.burst)

    def book(self) -> float:
        """Take the next slot; the seconds to wait for it. Raises TooManyRequests when that is too long."""
        now = asyncio.get_running_loop().time()
        wait = self._bucket.ready_in(now)
        if wait > self._config.longest_wait_seconds:
            raise TooManyRequests("this connection's upstream is asked too often", retry_after=int(wait) + 1)
        self._bucket.take(now)
        return wait

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a slot and a seat, and hold the seat. Raises TooManyRequests when either takes too long."""
        wait = self.book()
        await asyncio.sleep(wait)
        try:
            async with asyncio.timeout(self._config.longest_wait_seconds - wait):
                await self._seats.acquire()
        except TimeoutError:
            raise TooManyRequests("this connection's upstream is slow and asked too often") from None
        try:
            yield
        finally:
            self._seats.release()


class Pacing:
    """The paces of all connections in use; the longest unused are forgotten."""

    _MOST = 10_000

    def __init__(self, config: PaceConfig) -> None:
        self._config = config
        self._paces: OrderedDict[str, Pace] = OrderedDict()

    def of(self, connection_id: str) -> Pace:
        """The pace of one connection."""
        pace = self._paces.get(connection_id)
        if pace is None:
            pace = self._paces[connection_id] = Pace(self._config)
        self._paces.move_to_end(connection_id)
        if len(self._paces) > self._MOST:
            self._paces.popitem(last=False)
        return pace
