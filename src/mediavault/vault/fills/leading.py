"""Leading a fill: which origin answers it needs at any moment, and when it is done or wanted no more."""

import asyncio
from collections.abc import Callable

from mediavault.edge.staging import Staging
from mediavault.errors import OriginBusy, OriginChanged, OriginError, OriginUnavailable
from mediavault.vault.fills.answers import FillAnswers
from mediavault.vault.fills.config import FillConfig
from mediavault.vault.fills.fill import Fill, Filled
from mediavault.vault.fills.stream import Stream

#: A request for less is not worth its way.
_LEAST_REQUEST_BYTES = 64 << 10


class Leading:
    """Leads one fill."""

    def __init__(self, fill: Fill, answers: FillAnswers, config: FillConfig, retire: Callable[[], None]) -> None:
        """`retire` makes that nobody joins the fill any more."""
        self._fill = fill
        self._answers = answers
        self._config = config
        self._retire = retire
        self._seeks = True
        self._tasks: dict[asyncio.Task[None], Stream] = {}

    async def run(self) -> tuple[Staging, Filled] | None:
        """The whole object; None where nobody wants it any more. Raises what went wrong; the file is gone then."""
        self._start(Stream(0, None))
        try:
            while not self._is_whole:
                if not await self._next_change():
                    self._abandon()
                    return None
                self._start_what_is_wanted()
            return await self._whole()
        except BaseException:
            if self._answers.staging is not None:
                self._answers.staging.discard()
            raise
        finally:
            await self._end_streams()

    @property
    def _is_whole(self) -> bool:
        return self._answers.size_bytes is not None and self._fill.segments.frontier >= self._answers.size_bytes

    async def _whole(self) -> tuple[Staging, Filled]:
        staging, head = self._answers.staging, self._fill.head
        if staging is None or head is None or self._answers.size_bytes is None:
            raise OriginUnavailable("the fill has no file")
        if staging.written < self._answers.size_bytes:
            await asyncio.to_thread(staging.absorb, self._answers.size_bytes)
        digests = staging.digest(), staging.checksum()
        return staging, Filled(staging.written, *digests, head.content_type, self._fill.version)

    def _abandon(self) -> None:
        """Nobody may join between this decision and the end of the file."""
        self._retire()
        if self._answers.staging is not None:
            self._answers.staging.discard()

    async def _end_streams(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- which answers are needed --

    async def _next_change(self) -> bool:
        """Wait until there is something to decide; False when nobody has wanted anything for a while."""
        fill = self._fill
        idle = not fill.whole and fill.readers == 0
        if idle and fill.dismissed:
            return False
        try:
            async with asyncio.timeout(self._config.grace_seconds if idle else None):
                await fill.changed.wait()
        except TimeoutError:
            if not fill.changed.is_set():  # else somebody came in the same moment
                return False
        fill.changed.clear()
        for task in [task for task in self._tasks if task.done()]:
            self._ended(task)
        return True

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Take note of an answer's end. Raises what it failed with, unless the others will do without it."""
        self._tasks.pop(task)
        error = task.exception()
        if error is None:
            return
        if not isinstance(error, OriginError | OriginBusy) or isinstance(error, OriginChanged) or not self._tasks:
            raise error
        self._seeks = False
        for stream in self._fill.streams:
            stream.is_only_way = True

    def _start_what_is_wanted(self) -> None:
        fill, frontier = self._fill, self._fill.segments.frontier
        if fill.head is None:
            return
        if fill.readers == 0 and not fill.whole and self._answers.staging is not None and not self._tasks:
            self._answers.staging.release_unused()
        wants = fill.wants()
        may_seek = self._answers.can_join and self._seeks
        from_start = fill.whole or (wants and not may_seek)
        if from_start and not self._is_whole and not self._is_led(frontier):
            self._start(Stream(frontier, self._stop_of(frontier, None)))
        for want in wants if may_seek else ():
            if len(self._tasks) > self._config.most_seeks:
                return
            if not fill.is_coming(want.start):
                stop = max(want.stop, want.start + _LEAST_REQUEST_BYTES)
                self._start(Stream(want.start, self._stop_of(want.start, stop)))

    def _is_led(self, frontier: int) -> bool:
        """Whether an answer is about to bring the first byte that is missing."""
        held = self._fill.segments.contiguous_from
        return any(stream.position + held(stream.position) == frontier for stream in self._fill.streams)

    def _stop_of(self, start: int, stop: int | None) -> int | None:
        """Up to what is wanted, what there is, and what is there already."""
        following = self._fill.segments.next_start(start) if self._answers.can_join else None
        return min((bound for bound in (stop, self._answers.size_bytes, following) if bound is not None), default=None)

    def _start(self, stream: Stream) -> None:
        self._fill.streams.append(stream)
        task = asyncio.create_task(self._answers.run(stream))
        self._tasks[task] = stream
        task.add_done_callback(self._look_again)

    def _look_again(self, task: "asyncio.Task[None]") -> None:  # noqa: ARG002 - asyncio's argument
        self._fill.changed.set()
