"""Seats of what is passed on: a turn that is given back for as long as its viewer takes nothing.

To the origin an answer that nobody reads is a quiet connection; to the others who wait for that host its turn would be
one fetch fewer. A viewer who goes on waits for a turn like anybody. How many answers may rest like that is bounded by
host: of too many, the one that has rested longest is broken off, and its viewer comes back with a range.
"""

import asyncio
from collections import OrderedDict
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from mediavault.origin.addresses import check_url
from mediavault.vault.fills.turns import Turns, Urgency


@dataclass(frozen=True)
class RestConfig:
    """How patient the turns of others must be with a slow viewer."""

    stalled_seconds: float = 5  #: for a viewer to take a piece, with its turn
    most_resting: int = 64  #: answers of one host that are held without a turn


class Resting:
    """The answers of this process whose viewers take nothing, those that rest longest first."""

    def __init__(self, config: RestConfig) -> None:
        self.config = config
        self._by_host: dict[str, OrderedDict[Seat, None]] = {}

    def count(self, url: str) -> int:
        """How many of the URL's host rest."""
        return len(self._by_host.get(check_url(url), ()))

    def add(self, seat: "Seat") -> None:
        """One more; the oldest of too many is broken off."""
        seats = self._by_host.setdefault(seat.host, OrderedDict())
        seats[seat] = None
        while len(seats) > self.config.most_resting:
            oldest, _ = seats.popitem(last=False)
            oldest.break_off()

    def discard(self, seat: "Seat") -> None:
        """Its viewer goes on, or has left."""
        seats = self._by_host.get(seat.host)
        if seats is not None:
            seats.pop(seat, None)
            if not seats:
                del self._by_host[seat.host]


class Seat:
    """A turn at a URL's host, held while its viewer reads."""

    def __init__(self, turns: Turns, resting: Resting, url: str, connection_id: str) -> None:
        self.host = check_url(url)
        self._url = url
        self._turns = turns
        self._resting = resting
        self._connection_id = connection_id
        self._turn: AbstractAsyncContextManager[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._giving: asyncio.Task[None] | None = None
        self._viewer: asyncio.Task[Any] | None = None  #: who sends to the viewer

    async def __aenter__(self) -> Self:
        await self._take()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self._rest_is_over()
        await self._give()

    def wait_for_viewer(self) -> None:
        """The viewer has something to take: if that takes it long, others get the turn. Called by who sends to it."""
        self._viewer = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(self._resting.config.stalled_seconds, self._rest)

    async def go_on(self, *, is_over: bool) -> None:
        """The viewer has taken it. Where that was not all, raises OriginBusy if there is no turn for a long time."""
        await self._rest_is_over()
        if self._turn is None and not is_over:
            await self._take()

    def break_off(self) -> None:
        """End the answer: its viewer's connection breaks, and nothing is held for it any more."""
        if self._viewer is not None:
            self._viewer.cancel()

    def _rest(self) -> None:
        self._giving = asyncio.create_task(self._give())
        self._resting.add(self)

    async def _rest_is_over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._resting.discard(self)
        if self._giving is not None:
            await asyncio.shield(self._giving)  # a viewer who leaves now must not take the turn along
            self._giving = None

    async def _take(self) -> None:
        turn = self._turns.turn(self._url, self._connection_id, Urgency(urgent=True))
        await turn.__aenter__()
        self._turn = turn

    async def _give(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            await turn.__aexit__(None, None, None)
