"""`GET /v2/events`: an organisation's events as they come, as Server-Sent Events that can be resumed."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mediavault.api.requests import header, principal
from mediavault.errors import InvalidRequest, NotPermitted, TooManyRequests
from mediavault.vault.authorising import Authorising, Scope
from mediavault.vault.following import Following, Start, Told, wanted_types

MOST_STREAMS = 32  #: of one organisation, in this process
_AT_ONCE = 100
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_RETRY_MS = 2000


class EventStream:
    """The endpoint of the event stream."""

    def __init__(
        self,
        authorising: Authorising,
        following: Following,
        *,
        look_every_seconds: float = 0.5,
        beat_every_seconds: float = 15,
    ) -> None:
        self._authorising = authorising
        self._following = following
        self._look_every_seconds = look_every_seconds
        self._looks_per_beat = max(1, round(beat_every_seconds / look_every_seconds))
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
        org_id = (await principal(self._authorising, request.scope, Scope.ACCOUNT)).org_id
        wanted, last_seen = wanted_types(request.query_params.get("types")), _last_seen(request)
        if self._streams[org_id] >= MOST_STREAMS:
            raise TooManyRequests(f"an organisation has at most {MOST_STREAMS} event streams", retry_after=5)
        if request.method == "HEAD":
            return Response(status_code=200, headers=_HEADERS, media_type="text/event-stream")
        start = await self._following.start(org_id, last_seen)
        stream = self._stream(request, org_id, start, wanted)
        return StreamingResponse(stream, headers=_HEADERS, media_type="text/event-stream")

    async def _stream(
        self, request: Request, org_id: str, start: Start, wanted: frozenset[str] | None
    ) -> AsyncIterator[bytes]:
        self._streams[org_id] += 1
        try:
            yield _opening(start)
            seq, looks = start.seq, 0
            while not self._ending.is_set():
                told = await self._following.after(org_id, seq, _AT_ONCE)
                if told:
                    seq = told[-1].seq
                    yield b"".join(_written(each) for each in told if wanted is None or each.type in wanted) + _at(seq)
                    continue
                await self._pause()
                looks += 1
                if looks % self._looks_per_beat == 0:
                    if not await self._is_still_welcome(request):
                        return
                    yield b": still here\n\n"
        finally:
            self._streams[org_id] -= 1
            if not self._streams[org_id]:
                del self._streams[org_id]

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._look_every_seconds):
                await self._ending.wait()

    async def _is_still_welcome(self, request: Request) -> bool:
        """A key that was revoked meanwhile hears no more."""
        try:
            await principal(self._authorising, request.scope, Scope.ACCOUNT)
        except NotPermitted:
            return False
        return True


_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


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
