"""Bytes a second from the origins, for each connection: what its viewers and its stores together may cause.

Nothing fails for it: a fill that is over the rate waits with its next chunk, and its origin is not read meanwhile. Each
answer waits with one chunk at a time, in the order in which they came, so that all share the rate evenly; those of
fills that a viewer waits for go before those that nobody does.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Protocol

#: Connections whose rate is remembered; an idle one's is a full one.
_MOST_REMEMBERED = 1_000


class Hurry(Protocol):
    """Whether a viewer waits; that may change while a chunk waits."""

    urgent: bool


@dataclass(eq=False, slots=True)
class _Chunk:
    amount: int
    hurry: Hurry
    passed: "asyncio.Future[None]"


@dataclass(eq=False, slots=True)
class _Line:
    """A connection's chunks that wait, and when its rate lets the next one pass."""

    next_at: float = 0.0
    waiting: list[_Chunk] = field(default_factory=list)
    timer: asyncio.Handle | None = None


class Traffic:
    """The byte rates of all connections. All of it on one event loop."""

    def __init__(self, bytes_per_second: int) -> None:
        """0 is no limit. After a pause, a second's bytes pass at once."""
        self._bytes_per_second = bytes_per_second
        self._lines: OrderedDict[str, _Line] = OrderedDict()

    async def pass_through(self, connection_id: str, amount: int, hurry: Hurry) -> None:
        """Wait until so many bytes more may be taken from an origin."""
        if not self._bytes_per_second:
            return
        line = self._line(connection_id)
        chunk = _Chunk(amount, hurry, asyncio.get_running_loop().create_future())
        line.waiting.append(chunk)
        if line.timer is None:
            self._pump(line)
        try:
            await chunk.passed
        finally:
            if chunk in line.waiting:
                line.waiting.remove(chunk)

    def _line(self, connection_id: str) -> _Line:
        line = self._lines.get(connection_id)
        if line is None:
            self._forget_idle_ones()
            line = self._lines[connection_id] = _Line()
        self._lines.move_to_end(connection_id)
        return line

    def _pump(self, line: _Line) -> None:
        """Let the next one pass, if it may, and come again when the one after it may."""
        loop = asyncio.get_running_loop()
        line.timer = None
        if not line.waiting:
            return
        now = loop.time()
        if now < line.next_at:
            line.timer = loop.call_at(line.next_at, self._pump, line)
            return
        chunk = next((each for each in line.waiting if each.hurry.urgent), line.waiting[0])
        line.waiting.remove(chunk)
        if not chunk.passed.done():
            line.next_at = max(line.next_at, now - 1.0) + chunk.amount / self._bytes_per_second
            chunk.passed.set_result(None)
        if line.waiting:  # in the next turn, even where it may pass now: who was let pass may be back then, and urgent
            line.timer = loop.call_soon(self._pump, line)

    def _forget_idle_ones(self) -> None:
        if len(self._lines) <= _MOST_REMEMBERED:
            return
        full_before = asyncio.get_running_loop().time() - 1.0
        for connection_id in [each for each, line in self._lines.items() if _is_idle(line, full_before)]:
            if len(self._lines) > _MOST_REMEMBERED // 2:
                del self._lines[connection_id]


def _is_idle(line: _Line, full_before: float) -> bool:
    return line.timer is None and not line.waiting and line.next_at < full_before
