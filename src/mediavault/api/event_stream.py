"""`GET /v2/events`: an organisation's events as they come, as Server-Sent Events that can be resumed."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mediavault.api.limits import VISIT
from mediavault.api.requests import header, principal
from mediavault.errors import InvalidRequest, NotPermitted, TooManyRequests
from mediavault.vault.authorising import Authorising, Principal, Scope
from mediavault.vault.following import Following, Start, Told, wanted_types

MOST_STREAMS = 32  #: of one organisation, in this process
MOST_STREAMS_OF_KEY = 16  #: of one of its keys: another program's key still finds room
_AT_ONCE = 100
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_RETRY_MS = 2000


@dataclass(frozen=True)
class StreamConfig:
    """How streams go on."""

    look_every_seconds: float = 0.5
    beat_every_seconds: float = 15  #: a line for who waits, and whether the key is still a key


class EventStream:
    """The endpoint of the event stream."""

    def __init__(self, authorising: Authorising, following: Following, config: StreamConfig) -> None:
        self._authorising = authorising
        self._following = following
        self._config = config
        self._ending = asyncio.Event()
        self._streams: Counter[str] = Counter()

    def routes(self) -> list[Route]:
        """The one."""
        return [Route("/v2/events", self.events, methods=["GET"])]

    def end(self) -> None:
        """The process stops: every stream ends now, and its client comes again elsewhere."""
        self._ending.set()

    async def events(self, request: Request) -> Response:
        """`GET /v2/events`."""
        caller = await principal(self._authorising, request.scope, Scope.ACCOUNT)
        wanted, last_seen = wanted_types(request.query_params.get("types")), _last_seen(request)
        self._check_room(caller)
        if request.method == "HEAD":
            return Response(status_code=200, headers=_HEADERS, media_type="text/event-stream")
        leave = self._enter(caller)
        try:
            start = await self._following.start(caller.org_id, last_seen)
        except BaseException:
            leave()
            raise
        request.scope[VISIT].end()  # a stream is counted among streams, not among the requests under way
        return _CountedStream(self._stream(request, caller.org_id, start, wanted), leave)

    def _check_room(self, caller: Principal) -> None:
        if self._streams[caller.org_id] >= MOST_STREAMS:
            raise TooManyRequests(f"an organisation has at most {MOST_STREAMS} event streams", retry_after=5)
        if self._streams[caller.key_id] >= MOST_STREAMS_OF_KEY:
            raise TooManyRequests(f"a key has at most {MOST_STREAMS_OF_KEY} event streams", retry_after=5)

    def _enter(self, caller: Principal) -> Callable[[], None]:
        """Count a stream; what ends the count."""
        counted = (caller.org_id, caller.key_id)
        self._streams.update(counted)

        def leave() -> None:
            self._streams.subtract(counted)
            for each in counted:
                if not self._streams[each]:
                    del self._streams[each]

        return leave

    async def _stream(
        self, request: Request, org_id: str, start: Start, wanted: frozenset[str] | None
    ) -> AsyncIterator[bytes]:
        yield _opening(start)
        seq, beat_at = start.seq, self._next_beat()
        while not self._ending.is_set():
            if asyncio.get_running_loop().time() >= beat_at:  # however much there is to tell
                if not await self._is_still_welcome(request):
                    return
                yield b": still here\n\n"
                beat_at = self._next_beat()
            told = await self._following.after(org_id, seq, _AT_ONCE)
            if told:
                seq = told[-1].seq
                yield b"".join(_written(each) for each in told if wanted is None or each.type in wanted) + _at(seq)
                continue
            await self._pause()

    def _next_beat(self) -> float:
        return asyncio.get_running_loop().time() + self._config.beat_every_seconds

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._config.look_every_seconds):
                await self._ending.wait()

    async def _is_still_welcome(self, request: Request) -> bool:
        """A key that was revoked meanwhile hears no more."""
        try:
            await principal(self._authorising, request.scope, Scope.ACCOUNT)
        except (NotPermitted, TooManyRequests):
            return False
        return True


_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class _CountedStream(StreamingResponse):
    """A stream that is counted until it is over, whether or not it ever began."""

    def __init__(self, content: AsyncIterator[bytes], leave: Callable[[], None]) -> None:
        super().__init__(content, headers=_HEADERS, media_type="text/event-stream")
        self._leave = leave

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


def _last_seen(request: Request) -> int | None:
    """The number of the last event the client has; the header is what browsers send when they come again."""
    given = header(request.scope, b"last-event-id") or request.query_params.get("lastEventId")
    if not given:
        return None
    if not _NUMBER.fullmatch(given):
        raise InvalidRequest("Last-Event-ID is none of this stream's")
    return int(given)


def _opening(start: Start) -> bytes:
    """How soon to come again, whether something was missed, and where the stream is."""
    opening = b"retry: %d\n\n" % _RETRY_MS
    if start.lost:
        data = msgspec.json.encode(
            {"reason": "events after your Last-Event-ID are not kept: read what you follow anew"}
        )
        opening += b"event: stream.reset\ndata: %s\n" % data
    return opening + _at(start.seq)


def _at(seq: int) -> bytes:
    """Sets the client's last event id, also past events that it does not want."""
    return b"id: %d\n\n" % seq


def _written(told: Told) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (told.seq, told.type.encode(), told.body)
