"""Direct serving: an origin's bytes passed through and never kept.

For connections whose Vault+ is off, and for viewers while the disk has no room. The origin answers the range itself;
`vault/fills/relaying` asks it. What it is called is decided from the object's first bytes, as for what is kept: where a
part is asked for that begins elsewhere, they are asked for once before it, and what they told is remembered.
"""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing

from mediavault.domain.byte_ranges import Slice
from mediavault.errors import OriginRefused, OriginUnavailable
from mediavault.serving.requests import Request
from mediavault.serving.responses import UNKNOWN_END, Body, Response, disposition
from mediavault.serving.sources import Streamed
from mediavault.vault.fills.filling import first_bytes, verified_content_type
from mediavault.vault.fills.relaying import Ask, Relayed, Start

#: Enough to tell what media is.
_START_BYTES = 512
_START = {"range": f"bytes=0-{_START_BYTES - 1}"}
_FROM_START = re.compile(r"bytes=0-([0-9]{0,18})", re.ASCII)
_UNKNOWN = "application/octet-stream"
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII | re.IGNORECASE)

_ASKED = (b"range", b"if-range", b"if-none-match", b"if-modified-since")
_PASSED = ("Content-Length", "Content-Range", "ETag", "Last-Modified", "Accept-Ranges")
_PASSED_WITHOUT_BODY = ("Content-Range", "ETag", "Last-Modified", "Accept-Ranges")

#: What a viewer must have asked with, for the origin to answer so.
_ANSWERS_TO = {
    206: frozenset({"range"}),
    304: frozenset({"if-none-match", "if-modified-since"}),
    416: frozenset({"range"}),
}


class RelaySource(Streamed):
    """An origin's answer under way."""

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes, None], held: AsyncExitStack) -> None:
        self._first = first
        self._rest = rest
        self._held = held

    async def chunks(self, piece: Slice) -> AsyncGenerator[bytes, None]:  # noqa: ARG002 - it is cut already
        """All that comes: the origin has cut the slice."""
        yield self._first
        async for chunk in self._rest:
            yield chunk

    async def aclose(self) -> None:
        """Let the origin go."""
        await self._held.aclose()


async def relay(ask: Ask, request: Request, *, seconds_left: int) -> Response:
    """The origin's answer, as it is handed on. Raises OriginError, OriginBusy."""
    asked = _asked(request)
    if "range" in asked and not _has_start(asked["range"]) and ask.start is None:
        await _learn_start(ask)
    async with AsyncExitStack() as held:
        origin = await held.enter_async_context(ask(asked))
        chunks = await held.enter_async_context(aclosing(origin.chunks()))
        _check(origin, asked)
        has_body = origin.status in {200, 206}
        first = await first_bytes(chunks) if has_body else b""
        headers = _passed(origin, _PASSED if has_body else _PASSED_WITHOUT_BODY)
        headers += _described(ask, origin, first, seconds_left)
        if request.method == "HEAD" or not has_body:
            return Response(origin.status, headers)
        body = Body(RelaySource(first, chunks, held.pop_all()), ((b"", Slice(0, UNKNOWN_END)),))
        length = dict(headers).get("content-length")
        if length is None:
            body.length_known = False
        else:
            body.slices = ((b"", Slice(0, int(length))),)
        return Response(origin.status, headers, body=body)


def _asked(request: Request) -> dict[str, str]:
    """What of the request the origin is asked too. Several ranges are not: its parts would have to be taken apart."""
    asked = {name.decode(): value.decode("latin-1") for name, value in request.headers if name in _ASKED}
    lines = sum(name == b"range" for name, _ in request.headers)
    if lines > 1 or "," in asked.get("range", ""):
        del asked["range"]
    return asked


def _has_start(wanted: str) -> bool:
    """Whether what is asked for has enough of the first bytes; where it is no range, all is answered."""
    found = _FROM_START.fullmatch(wanted)
    if found is None:
        return not wanted.startswith("bytes=")
    return not found[1] or int(found[1]) >= _START_BYTES - 1


async def _learn_start(ask: Ask) -> None:
    """Ask for the first bytes alone; their turn is given back before anything else is asked. Raises OriginError."""
    async with ask(_START) as origin, aclosing(origin.chunks()) as chunks:
        _check(origin, _START)
        if origin.status == 416:  # an empty object has no part either
            return
        _type_from_start(ask, origin, await first_bytes(chunks))


def _type_from_start(ask: Ask, origin: Relayed, first: bytes) -> str:
    content_type = verified_content_type(first, origin.headers.get("Content-Type"))
    if first:
        ask.learn(Start(content_type, origin.headers.get("ETag")))
    return content_type


def _check(origin: Relayed, asked: Mapping[str, str]) -> None:
    reasons = _ANSWERS_TO.get(origin.status)
    if reasons is not None and reasons.isdisjoint(asked):
        raise OriginUnavailable(f"the origin answered {origin.status} to a plain GET")
    if origin.headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
        raise OriginRefused("the origin sent an encoded body although identity was asked")
    length = origin.headers.get("Content-Length")
    if length is not None and not (length.isascii() and length.isdigit() and len(length) < 19):
        raise OriginUnavailable("the origin sent a length that is none")
    if origin.status == 206:
        start, stop, total = _part_of(origin)
        if start >= stop or (total is not None and stop > total):
            raise OriginUnavailable("the origin sent a part and does not say which")
        if length is not None and int(length) != stop - start:
            raise OriginUnavailable("the origin sent another part than it says")


def _part_of(origin: Relayed) -> tuple[int, int, int | None]:
    """Start, stop and total of a part; an empty one where it does not say which it is."""
    found = _CONTENT_RANGE.fullmatch(origin.headers.get("Content-Range", "").strip())
    if found is None:
        return 0, 0, None
    return int(found[1]), int(found[2]) + 1, None if found[3] == "*" else int(found[3])


def _passed(origin: Relayed, names: tuple[str, ...]) -> list[tuple[str, str]]:
    start, stop, _ = _part_of(origin)
    is_framed = origin.status != 206 or "Content-Length" in origin.headers
    # What is framed otherwise is held to the length that its place in the object gives it.
    told = [] if is_framed else [("content-length", str(stop - start))]
    return told + [
        (name.lower(), origin.headers[name].encode("utf-8", "surrogateescape").decode("latin-1"))
        for name in names
        if name in origin.headers and (name != "Content-Range" or origin.status in {206, 416})
    ]


def _described(ask: Ask, origin: Relayed, first: bytes, seconds_left: int) -> list[tuple[str, str]]:
    """The type, from the object's first bytes alone; how long it may be kept. Raises OriginRefused."""
    if origin.status == 416:
        return [("content-length", "0"), ("cache-control", "no-store")]
    caching = ("cache-control", f"private, max-age={max(0, min(3600, seconds_left))}")
    if origin.status == 304:
        return [caching]
    start_at, stop, total = _part_of(origin)
    if origin.status == 200 or (start_at == 0 and (len(first) >= _START_BYTES or stop == total)):
        content_type = _type_from_start(ask, origin, first)
    else:
        start, content_type = ask.start, _UNKNOWN
        if start is not None and start.etag == origin.headers.get("ETag"):
            content_type = start.content_type
        else:
            ask.forget()  # another version by now: the next part asks for its first bytes anew
    return [("content-type", content_type), ("content-disposition", disposition(content_type)), caching]
