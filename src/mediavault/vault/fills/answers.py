"""The origin answers of a fill, and how they become one object.

The first one begins at byte 0 and tells what the object is: its type, its length and its validators. Every other one is
pinned to it, or is a whole body whose bytes are compared with those that are there: a fill never mixes two versions. An
answer that breaks off is taken up where it ended; a URL that no longer works is replaced by a fresh one.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from mediavault.domain.byte_ranges import Slice
from mediavault.domain.first_wanted import ENDLESS
from mediavault.domain.times import Now
from mediavault.edge.cache import EdgeCache
from mediavault.edge.offloading import Offloading
from mediavault.edge.staging import Staging
from mediavault.errors import OriginChanged, OriginExpired, OriginRefused, OriginUnavailable, RangesUnusable
from mediavault.origin.client import GuardedClient, Response
from mediavault.origin.media_fetch import FetchedHead, Pin, Wanted, fetch
from mediavault.vault.fills.config import FillConfig, Patience
from mediavault.vault.fills.fill import Fill, FillHead
from mediavault.vault.fills.media_start import first_batch, start_of, verified_content_type
from mediavault.vault.fills.stream import WINDOW_BYTES, Stream
from mediavault.vault.fills.turns import Turns
from mediavault.vault.fills.url import FillUrl

#: What is there already and shorter than this is read past, instead of asking for what comes after it.
_SKIP_WORTH_BYTES = 1 << 20
#: Hashed in less than a millisecond, so that whoever opens a copy may do it.
_HASHED_LATER_BYTES = 1 << 20


class FillAnswers:
    """Takes the answers of one fill; all of them share what the first one told."""

    def __init__(
        self,
        fill: Fill,
        url: FillUrl,
        edge: EdgeCache,
        client: GuardedClient,
        turns: Turns,
        offloading: Offloading,
        now: Now,
        config: FillConfig,
        first: Slice | None,
    ) -> None:
        """`first` is what the first reader wants; None: all of it."""
        self._fill = fill
        self._url = url
        self._edge = edge
        self._client = client
        self._turns = turns
        self._offloading = offloading
        self._waited_seconds = 0.0  #: for the origin, in all answers
        self._now = now
        self._config = config
        self._opening = _opening(first, config.opening_bytes)
        self.size_bytes: int | None = None  #: of the whole, once it is known
        self.staging: Staging | None = None
        self._pin: Pin | None = None
        self._head: FillHead | None = None
        self._knows_ranges = True

    @property
    def can_join(self) -> bool:
        """Whether a part can be put to what is there; else whole bodies are read and compared."""
        return self._knows_ranges and self._pin is not None and self._pin.validator is not None

    async def run(self, stream: Stream) -> None:
        """Answers for one stretch of the object, until it is there or nobody wants it any more."""
        try:
            await self._stretch(stream)
        finally:
            self._fill.streams.remove(stream)

    async def _stretch(self, stream: Stream) -> None:
        patience = Patience(self._config, stream, self._now)
        while not stream.done:
            if self._fill.head is not None and not self.can_join:
                if stream.position > self._fill.segments.frontier:
                    return  # a seek; without ranges only the way from the start leads there
                stream.is_only_way = True
            key = self._url.key
            try:
                if not await self._one_answer(stream):
                    return
                error = OriginUnavailable("the origin sends too little at a time")
            except OriginRefused as refused:
                await self._url.renew(refused, key, self._fill.segments.total_bytes)
                continue
            except (OriginChanged, OriginExpired):
                raise
            except OriginUnavailable as broken:
                if not self._may_go_on(broken):
                    raise
                error = broken
            if not stream.done:
                await patience.spend(error)

    def _may_go_on(self, error: OriginUnavailable) -> bool:
        """Whether to ask again: nobody waits for what has not begun, unless it is ranges that the origin dislikes."""
        if isinstance(error, RangesUnusable):
            self._knows_ranges, self._opening = False, None
            return True
        return self._fill.head is not None and self._waited_seconds <= self._config.longest_seconds

    async def _one_answer(self, stream: Stream) -> bool:
        """Take one answer of the origin; whether another is to follow where it did not do."""
        wanted = self._wanted(stream)
        async with (
            self._dial(wanted) as (head, response),
            aclosing(response.batches()) as raw,
            aclosing(self._steady(raw)) as batches,
        ):
            first: list[bytes] = []
            if self._fill.head is None:
                first = await self._begin(stream, head, batches, is_part_asked=wanted is not None)
            elif not head.is_part:
                self._check_comparable(head)
                self._knows_ranges = False
                if stream.position > self._fill.segments.frontier:
                    return False
            if self.size_bytes is None and head.size_bytes is not None:
                self.size_bytes = stream.stop = head.size_bytes
            return await self._pump(stream, head, _after(first, batches))

    @asynccontextmanager
    async def _dial(self, wanted: Wanted | None) -> AsyncIterator[tuple[FetchedHead, Response]]:
        """The one place where a fill dials its origin."""
        url = await self._url.current()
        self._fill.tried_key = self._url.key
        async with (
            self._turns.turn(url, self._url.variant.connection_id, self._fill.urgency),
            fetch(self._client, url, wanted, self._pin) as answer,
        ):
            yield answer

    def _wanted(self, stream: Stream) -> Wanted | None:
        if self._fill.head is None:
            return None if self._fill.whole else self._opening
        return Wanted(stream.position, stream.stop) if self.can_join else None

    async def _begin(
        self, stream: Stream, head: FetchedHead, batches: AsyncIterator[list[bytes]], *, is_part_asked: bool
    ) -> list[bytes]:
        """The first bytes tell what it is; the file is made. Raises OriginRefused for what is no media."""
        self._check_size(head.size_bytes or 0)
        first = await first_batch(batches)
        if not first:
            raise OriginUnavailable("the origin sent an empty body")
        content_type = verified_content_type(start_of(first), head.content_type)
        if head.size_bytes is not None and head.size_bytes <= self._config.small_object_bytes:
            self._fill.want_whole()
        expected = head.stop if self._fill.whole or head.stop is None else min(head.stop, WINDOW_BYTES)
        if self.staging is None:
            # A small object is hashed when it is asked for once more, or stored: most of them never are.
            is_small = head.size_bytes is not None and head.size_bytes <= _HASHED_LATER_BYTES
            self.staging = self._edge.stage(expected, with_sha256=self._fill.awaited or not is_small)
            self._fill.opened(self.staging)
        self.size_bytes, self._pin, stream.stop = head.size_bytes, head.pin, head.stop
        if is_part_asked and not head.is_part:
            self._knows_ranges = False
        stream.is_only_way = not self.can_join
        self._head = FillHead(head.size_bytes, content_type, head.etag, head.last_modified)
        return first

    async def _pump(self, stream: Stream, head: FetchedHead, batches: AsyncGenerator[list[bytes], None]) -> bool:
        """Write an answer; whether another is to follow where it did not do."""
        at = head.start
        async with aclosing(batches):
            async for batch in batches:
                connection_id, size = self._url.variant.connection_id, sum(map(len, batch))
                await self._turns.traffic.pass_through(connection_id, size, self._fill.urgency)
                at = await self._take(at, batch, compare=not head.is_part)
                stream.position = max(stream.position, at)
                if self._fill.head is None and self._head is not None:
                    self._fill.started(self._head)
                if not self._passes_by(stream):
                    return not self._is_followed(stream)
                if stream.done or not await self._keeps_going(stream):
                    return False
        if head.stop is not None and at != head.stop:
            raise OriginUnavailable(f"the origin broke off: {at - head.start} of {head.stop - head.start} bytes")
        if self.size_bytes is None:
            self.size_bytes = stream.stop = at
        return True

    async def _take(self, at: int, batch: list[bytes], *, compare: bool) -> int:
        """Write what is missing of a batch; where it ends. Raises OriginChanged where something else is there."""
        staging, segments = self.staging, self._fill.segments
        if staging is None:
            raise OriginUnavailable("the fill has no file")
        stop = at + sum(map(len, batch))
        self._check_size(stop)
        gaps = segments.missing(at, stop)
        if gaps == [(at, stop)]:
            await self._write(staging, at, stop, batch)
            return stop
        view = memoryview(b"".join(batch))
        if compare:
            self._compare(staging, at, view)
        for start, end in gaps:
            await self._write(staging, start, end, view[start - at : end - at])
        return stop

    async def _write(self, staging: Staging, start: int, stop: int, data: memoryview | list[bytes]) -> None:
        if staging.written < start == self._fill.segments.frontier:
            await asyncio.to_thread(staging.absorb, start)
        await self._offloading.run(staging.write, start, data)
        self._fill.arrived(start, stop)

    def _check_comparable(self, head: FetchedHead) -> None:
        """A whole body without a name is compared from its start; what lies beyond a gap would be compared too late."""
        if head.pin.validator is None and len(list(self._fill.segments)) > 1:
            raise OriginChanged("the media may have changed at the origin: it has lost its ETag")

    def _compare(self, staging: Staging, at: int, view: memoryview) -> None:
        for start, end in self._fill.segments:
            low, high = max(start, at), min(end, at + len(view))
            if low < high and staging.read(low, high - low) != view[low - at : high - at]:
                raise OriginChanged("the media changed at the origin: its bytes are others")

    def _passes_by(self, stream: Stream) -> bool:
        """Whether to read on where the next bytes are there already; else the stream stands behind them."""
        held = self._fill.segments.contiguous_from(stream.position)
        if held == 0:
            return True
        reaches_stop = stream.stop is not None and stream.position + held >= stream.stop
        if reaches_stop or self._is_followed(stream) or (held >= _SKIP_WORTH_BYTES and self.can_join):
            stream.position += held
            return False
        return True

    def _is_followed(self, stream: Stream) -> bool:
        """Whether another answer carries on what this one has come to."""
        end = stream.position + self._fill.segments.contiguous_from(stream.position)
        return any(other is not stream and other.position == end for other in self._fill.streams)

    async def _keeps_going(self, stream: Stream) -> bool:
        """Wait while the answer is far enough ahead of its readers; False when that takes too long, or none is left."""
        while self._may_rest(stream):
            if self._fill.readers == 0:
                return False
            stream.moved.clear()
            try:
                async with asyncio.timeout(self._config.rest_seconds):
                    await stream.moved.wait()
            except TimeoutError:
                return False
        return True

    def _may_rest(self, stream: Stream) -> bool:
        fill = self._fill
        if fill.whole and fill.segments.frontier >= stream.position:
            return False
        if stream.stop is not None and stream.stop - stream.position <= self._config.opening_bytes:
            return False  # to take the little that is left costs less than to break off
        return fill.readers == 0 or (stream.is_far_ahead and not stream.is_only_way)

    async def _steady(self, batches: AsyncIterator[list[bytes]]) -> AsyncGenerator[list[bytes], None]:
        """The same batches, of an origin that keeps up. A silent one is cut off by the client's own timeout."""
        now = asyncio.get_running_loop().time
        received, waited, asked_at = 0, 0.0, now()
        async for batch in batches:
            received, waited = received + sum(map(len, batch)), waited + now() - asked_at
            self._waited_seconds += now() - asked_at
            if self._waited_seconds > self._config.longest_seconds:
                raise OriginUnavailable(f"the origin takes longer than {self._config.longest_seconds:.0f} s in all")
            yield batch
            asked_at = now()
            if waited >= self._config.patience_seconds:
                if received < waited * self._config.least_bytes_per_second:
                    raise OriginUnavailable(f"the origin dribbles: {received} bytes in {waited:.0f} s")
                received, waited = 0, 0.0

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._config.largest_object_bytes:
            raise OriginRefused(f"the media is larger than {self._config.largest_object_bytes} bytes")


def _opening(first: Slice | None, opening_bytes: int) -> Wanted | None:
    """What is asked for at first: from the start always, and not more than is wanted. None: a plain GET."""
    if first is None:
        return None
    if first.start > opening_bytes:
        return Wanted(0, opening_bytes)
    return None if first.stop >= ENDLESS else Wanted(0, max(first.stop, opening_bytes))


async def _after(first: list[bytes], batches: AsyncIterator[list[bytes]]) -> AsyncGenerator[list[bytes], None]:
    if first:
        yield first
    async for batch in batches:
        yield batch
