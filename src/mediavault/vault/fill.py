"""One fill: the leader streams the origin into a staging file; everybody else reads that growing file."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from mediavault.edge.staging import Staging
from mediavault.errors import OriginUnavailable, VaultError


@dataclass(frozen=True, slots=True)
class FillHead:
    """What is known when the first bytes are there."""

    size_bytes: int | None  #: None where the origin does not say
    content_type: str
    origin_etag: str | None


@dataclass(frozen=True, slots=True)
class Filled:
    """A whole object, verified."""

    size_bytes: int
    sha256: str  #: hex
    content_type: str
    version: str


#: Given the path of the whole file, which may vanish once the coroutine is done.
Adopt = Callable[[Path, Filled], Awaitable[None]]


class Fill:
    """The state that the leader writes and the readers watch. All of it on one event loop."""

    def __init__(self, variant_id: str, version: str) -> None:
        self.variant_id = variant_id
        self.version = version
        self.head: FillHead | None = None
        self.filled: Filled | None = None
        self.error: VaultError | None = None
        self._staging: Staging | None = None
        self._available = 0
        self._progress = asyncio.Event()
        self._readers = 0
        self._adopters: list[tuple[Adopt, asyncio.Future[None]]] = []
        self._adoptable = True
        self._left = asyncio.Event()

    # -- the leader's side --

    def opened(self, staging: Staging) -> None:
        """The staging file is there."""
        self._staging = staging

    def started(self, head: FillHead) -> None:
        """The first bytes are there and look like media."""
        self.head = head
        self._wake()

    def advanced(self, available: int) -> None:
        """So many bytes may be read now."""
        self._available = available
        self._wake()

    def completed(self, filled: Filled) -> None:
        """Every byte is there and verified: nothing can fail for the viewers any more."""
        self.filled = filled
        self._wake()

    def failed(self, error: VaultError) -> None:
        """It broke; viewers who have read a part must be cut off. What was completed cannot fail them any more."""
        if self.filled is None:
            self.error = error
        self._adoptable = False
        for _, outcome in self._adopters:
            _disappoint(outcome, error)
        self._adopters.clear()
        self._wake()

    async def serve_adopters(self, path: Path, filled: Filled) -> bool:
        """Let everyone who wants the file for good take it, before the edge cache may drop it.

        False when one failed: the file may have lost pages in a failed fsync and is not to be kept.
        """
        sound = True
        while self._adopters:
            adopt, outcome = self._adopters[0]
            if not outcome.done():  # else nobody would settle what it adopts
                try:
                    await adopt(path, filled)
                except Exception as error:
                    sound = False
                    _disappoint(outcome, error)
                else:
                    if not outcome.done():
                        outcome.set_result(None)
            self._adopters.pop(0)
        self._adoptable = False
        return sound

    def leader_left(self) -> None:
        """The leader is done with the file: the last reader closes it."""
        self._left.set()
        self._close_unused()

    def _wake(self) -> None:
        progress, self._progress = self._progress, asyncio.Event()
        progress.set()

    # -- the readers' side --

    async def ready(self) -> FillHead:
        """Wait for the first bytes. Raises what the fill failed with, also where it failed after them."""
        while True:
            self._check()
            if self.head is not None:
                return self.head
            await self._progress.wait()

    async def available(self, offset: int) -> int:
        """Wait for bytes beyond `offset`; how many there are, 0 at the end. Raises what the fill failed with."""
        while True:
            if self._available > offset:
                return self._available - offset
            self._check()
            if self.filled is not None:
                return 0
            await self._progress.wait()

    async def finished(self) -> Filled:
        """Wait for the whole object. Raises what the fill failed with."""
        while self.filled is None:
            self._check()
            await self._progress.wait()
        return self.filled

    async def adopted(self, adopt: Adopt) -> bool:
        """Have `adopt` called with the whole file before it can go away; False when it is too late for that.

        Raises what the fill failed with, or what `adopt` raised.
        """
        self._check()
        if not self._adoptable:
            return False
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._adopters.append((adopt, outcome))
        await outcome
        return True

    async def kept(self) -> None:
        """Wait until the leader is done with the file: the edge cache has it, or nobody."""
        await self._left.wait()

    def read(self, offset: int, length: int) -> bytes:
        """Bytes that `available` said are there."""
        if self._staging is None:
            raise OriginUnavailable("the fill has no file")
        return os.pread(self._staging.fd, length, offset)

    def join(self) -> None:
        """Keep the file open for one reader more."""
        self._readers += 1

    def leave(self) -> None:
        """One reader fewer."""
        self._readers -= 1
        self._close_unused()

    @property
    def over(self) -> bool:
        """Whether the leader has nothing left to do with it."""
        return self._left.is_set()

    def _check(self) -> None:
        if self.error is not None:
            # One error for many readers: each raise would lengthen the traceback the others left in it.
            raise self.error.with_traceback(None)

    def _close_unused(self) -> None:
        if self._readers == 0 and self.over and self._staging is not None:
            self._staging.close()
            self._staging = None


def _disappoint(outcome: "asyncio.Future[None]", error: Exception) -> None:
    if not outcome.done():
        outcome.set_exception(error)
        outcome.exception()  # the waiter may have left; that is no unhandled error
