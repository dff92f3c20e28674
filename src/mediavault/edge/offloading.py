"""Where disk work is done: at once while the disk is prompt, in a thread once it was not.

A write to the page cache takes a tenth of a millisecond, and a thread hop costs as much again, for the thread and for
everybody who waits for the interpreter. A disk that cannot keep up makes its writers wait far longer than that, and an
event loop must never be one of them for more than one write.
"""

import asyncio
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: Longer than a write that only fills the page cache, on a machine that has other things to do too.
_SLOW_SECONDS = 0.05
#: How long a disk that was slow once is taken to be slow.
_DISTRUST_SECONDS = 5.0


class Offloading:
    """Does blocking work for an event loop. One for each disk: what one fill learns of it, all heed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._slow_until = float("-inf")

    @property
    def is_prompt(self) -> bool:
        """Whether work is done at once."""
        return self._clock() >= self._slow_until

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do it and return what it gives, or raise what it raises."""
        if not self.is_prompt:
            return await asyncio.to_thread(work, *args, **kwargs)
        began = self._clock()
        try:
            return work(*args, **kwargs)
        finally:
            ended = self._clock()
            if ended - began > _SLOW_SECONDS:
                self._slow_until = ended + _DISTRUST_SECONDS
