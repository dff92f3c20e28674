"""Paces calls to upstreams: a vault must not get an account banned."""

import asyncio
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


class Pace:
    """One connection's bucket of calls and its seats."""

    def __init__(self, config: PaceConfig) -> None:
        self._config = config
        self._seats = asyncio.Semaphore(config.most_at_once)
        self._next_at = 0.0

    def book(self) -> float:
        """Take the next slot; the seconds to wait for it. Raises TooManyRequests when that is too long."""
        now = asyncio.get_running_loop().time()
        interval = 1 / self._config.calls_per_second
        slot = max(self._next_at, now - (self._config.burst - 1) * interval)
        wait = slot - now
        if wait > self._config.longest_wait_seconds:
            raise TooManyRequests("this connection's upstream is asked too often", retry_after=int(wait) + 1)
        self._next_at = slot + interval
        return max(0.0, wait)

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
