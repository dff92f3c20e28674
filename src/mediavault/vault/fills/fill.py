"""One fill: origin answers stream into a staging file; everybody else reads that growing file."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from mediavault.domain.segments import Segments
from mediavault.edge.staging import Staging
from mediavault.errors import OriginError, OriginUnavailable, VaultError
from mediavault.vault.fills.progress import Progress
from mediavault.vault.fills.stream import Stream
from mediavault.vault.fills.turns import Urgency

#: What a reader is taken to want who does not say: enough to be worth a request.
_READ_AHEAD = 4 << 20


@dataclass(frozen=True, slots=True)
class FillHead:
    """What is known when the first bytes are there."""

    size_bytes: int | None  #: None where the origin does not say
    content_type: str
    origin_etag: str | None
    origin_last_modified: str | None = None


@dataclass(frozen=True, slots=True)
class Filled:
    """A whole object, verified."""

    size_bytes: int
    sha256: str | None  #: hex; None where nobody wanted it when the fill began
    checksum: str | None  #: of the bytes as they came (`edge/digests`), hex
    content_type: str
    version: str


@dataclass(frozen=True, slots=True)
class Want:
    """Bytes that a reader waits for."""

    start: int
    stop: int


#: Given the path of the whole file, which may vanish once the coroutine is done.
Adopt = Callable[[Path, Filled], Awaitable[None]]


class Fill:
    """The state that the leader writes and the readers watch. All of it on one event loop."""

    def __init__(self, variant_id: str, version: str, tried_key: str = "", began_at: int = 0) -> None:
        self.variant_id = variant_id
        self.version = version
        self.tried_key = tried_key  #: of the origin URL it uses now
        self.began_at = began_at  #: Unix ms
        self.head: FillHead | None = None
        self.filled: Filled | None = None
        self.error: VaultError | None = None
        self.urgency = Urgency(urgent=False)  #: of its turns at the origin
        self.whole = False  #: whether somebody wants all of it, stays or not
        self.segments = Segments()
        self.streams: list[Stream] = []  #: origin answers that are being written
        self.changed = asyncio.Event()  #: tells the leader to look again
        self.readers = 0
        self.dismissed = False  #: not to be kept for readers who may come
        self.restarts = 0  #: how often the object changed under those who wait for all of it
        self._staging: Staging | None = None
        self._wants: list[Want] = []
        self._progress = Progress()
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
        self._progress.tell()

    def arrived(self, start: int, stop: int) -> None:
        """These bytes may be read now."""
        self.segments.insert(start, stop)
        self._progress.add(stop - start)

    def completed(self, filled: Filled) -> None:
        """Every byte is there and verified: nothing can fail for the viewers any more."""
        self.filled = filled
        self._progress.tell()

    def failed(self, error: VaultError) -> None:
        """It broke; viewers who have read a part must be cut off. What was completed cannot fail them any more."""
        if isinstance(error, OriginError):
            error.tried_key = self.tried_key or None
        if self.filled is None:
            self.error = error
        self._adoptable = False
        for _, outcome in self._adopters:
            _disappoint(outcome, error)
        self._adopters.clear()
        self._progress.tell()

    def hand_over(self, successor: "Fill") -> None:
        """Whoever waits for the whole object waits for the successor's: the bytes are others now."""
        successor.restarts = self.restarts + 1
        successor._adopters.extend(self._adopters)
        self._adopters.clear()

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

    def wants(self) -> list[Want]:
        """What readers wait for that is neither there, for those not woken yet, nor on its way."""
        held = self.segments.contiguous_from
        return [want for want in self._wants if not held(want.start) and not self.is_coming(want.start)]

    @property
    def is_idle(self) -> bool:
        """Whether it is kept only for readers who may come."""
        return self.head is not None and not self.whole and self.readers == 0

    def dismiss(self) -> None:
        """End it, unless somebody wants it again before it is ended."""
        self.dismissed = True
        self._nudge()

    @property
    def awaited(self) -> bool:
        """Whether somebody waits to take the whole file for good."""
        return bool(self._adopters)

    # -- the readers' side --

    def want_whole(self) -> None:
        """All of it is to be fetched, whoever leaves."""
        if not self.whole:
            self.whole = True
            self._nudge()

    async def ready(self) -> FillHead:
        """Wait for the first bytes. Raises what the fill failed with, also where it failed after them."""
        while True:
            self._check()
            if self.head is not None:
                return self.head
            await self._progress.wait()

    async def available(self, position: int, until: int | None = None) -> int:
        """Wait for bytes from `position` on; how many there are, 0 at the end. Raises what the fill failed with.

        `until` is where the reader means to stop: what is not there yet is fetched for it up to there.
        """
        while True:
            held = self.segments.contiguous_from(position)
            self._note(position)
            if held:
                return held
            self._check()
            if self.filled is not None or (self.head and position >= (self.head.size_bytes or position + 1)):
                return 0
            await self._wait_for(Want(position, position + _READ_AHEAD if until is None else until))

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
        self.want_whole()
        await outcome
        return True

    async def kept(self) -> None:
        """Wait until the leader is done with the file: the edge cache has it, or nobody."""
        await self._left.wait()

    @property
    def fd(self) -> int:
        """The file's descriptor, open while somebody is joined. Raises OriginUnavailable before there is one."""
        if self._staging is None:
            raise OriginUnavailable("the fill has no file")
        return self._staging.fd

    def read(self, offset: int, length: int) -> bytes:
        """Bytes that `available` said are there."""
        return os.pread(self.fd, length, offset)

    def join(self) -> None:
        """Keep the file open for one reader more."""
        self.readers += 1
        self.changed.set()

    def leave(self) -> None:
        """One reader fewer."""
        self.readers -= 1
        if self.readers == 0:
            self._nudge()
        self._close_unused()

    @property
    def over(self) -> bool:
        """Whether the leader has nothing left to do with it."""
        return self._left.is_set()

    def _note(self, position: int) -> None:
        """Tell the answers that run how far they are read: they keep a bounded way ahead of that."""
        for stream in self.streams:
            stream.note(position)

    async def _wait_for(self, want: Want) -> None:
        self._wants.append(want)
        if not self.is_coming(want.start):
            self.changed.set()
        try:
            await self._progress.wait()
        finally:
            self._wants.remove(want)

    def is_coming(self, position: int) -> bool:
        """Whether whoever wants this byte should wait for what is under way."""
        return self.head is None or any(stream.reaches(position) for stream in self.streams)

    def _nudge(self) -> None:
        self.changed.set()
        for stream in self.streams:
            stream.moved.set()

    def _check(self) -> None:
        if self.error is not None:
            # One error for many readers: each raise would lengthen the traceback the others left in it.
            raise self.error.with_traceback(None)

    def _close_unused(self) -> None:
        if self.readers == 0 and self.over and self._staging is not None:
            self._staging.close()
            self._staging = None


def _disappoint(outcome: "asyncio.Future[None]", error: Exception) -> None:
    if not outcome.done():
        outcome.set_exception(error)
        outcome.exception()  # the waiter may have left; that is no unhandled error
