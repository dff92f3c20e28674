"""A viewer's request on a connection of its own, which may take long: what came of it, as far as it is."""

import asyncio
import time
from typing import Any

import aiohttp

#: A head that nothing follows may wait for its body in the kernel so long.
_CORKED_SECONDS = 0.4


class Viewing:
    """A request that was begun."""

    def __init__(self, http: aiohttp.ClientSession, method: str, url: str, headers: dict[str, str]) -> None:
        self.method = method
        self.asked = headers
        self.status: int | None = None  #: None while no head has come
        self.headers: Any = {}
        self.body: bytes | None = None  #: None while it is not whole; a broken one never is
        self.broken = False
        self.noted = False  #: whether whoever counts views has counted this one
        self._began_at = time.monotonic()
        self._task = asyncio.create_task(self._ask(http, url))

    @property
    def is_waiting(self) -> bool:
        """Whether its answer has begun, and the rest is to come."""
        return self.status is not None or time.monotonic() - self._began_at > _CORKED_SECONDS

    async def ended(self) -> "Viewing":
        """Wait for its end."""
        await self._task
        return self

    async def ended_within(self, seconds: float) -> bool:
        """Whether it has come to an end, after a moment."""
        done, _ = await asyncio.wait({self._task}, timeout=seconds)
        return bool(done)

    async def _ask(self, http: aiohttp.ClientSession, url: str) -> None:
        try:
            async with http.request(self.method, url, headers=self.asked, timeout=aiohttp.ClientTimeout(None)) as got:
                self.status, self.headers = got.status, got.headers
                self.body = await got.read()
        except (aiohttp.ClientError, ConnectionError):
            self.broken = True
