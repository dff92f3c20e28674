"""How those who read a growing file learn that it has grown: at once after a pause, then in steps worth their turn.

An origin's bytes come in pieces of the network's making. To wake every reader at every piece costs a herd more than the
bytes do: each of them then sends a small piece, and each small piece wakes the client it is sent to.
"""

import asyncio

#: So much is told at once, however little time has passed.
_STEP_BYTES = 8 << 20
#: What follows sooner on what was told waits, while bytes pour in.
_PAUSE_SECONDS = 0.02


class Progress:
    """What the readers of one fill wait for. All of it on one event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._untold_bytes = 0
        self._told_at = float("-inf")
        self._alarm: asyncio.TimerHandle | None = None

    def add(self, size_bytes: int) -> None:
        """So many bytes more are there: wake the readers now, or in a moment."""
        loop = asyncio.get_running_loop()
        self._untold_bytes += size_bytes
        next_at = self._told_at + _PAUSE_SECONDS
        if self._untold_bytes >= _STEP_BYTES or loop.time() >= next_at:
            self.tell()
        elif self._alarm is None:
            self._alarm = loop.call_at(next_at, self.tell)

    def tell(self) -> None:
        """Wake the readers now."""
        self._untold_bytes, self._told_at = 0, asyncio.get_running_loop().time()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self) -> None:
        """Until there is something to look at."""
        await self._event.wait()
