"""Direct serving: an origin's bytes passed through and never kept.

For connections whose Vault+ is off, and for viewers while the disk has no room. The origin answers the range itself;
`vault/fills/relaying` asks it. What it is called is decided from the object's first bytes, as for what is kept: where a
part is asked for that begins elsewhere, they are asked for once before it, and what they told is remembered.
"""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing

from mediavault.domain.byte_ranges import Slice, parse_content_range
from mediavault.errors import OriginRefused, OriginUnavailable
from mediavault.serving.requests import Request
from mediavault.serving.responses import UNKNOWN_END, Body, Response, disposition
from mediavault.serving.sources import Streamed
from mediavault.vault.fills.filling import first_bytes, verified_content_type
from mediavault.vault.fills.media_start import SNIFFED_BYTES
from mediavault.vault.fills.relaying import Ask, Relayed, Start

#: Enough to tell what media is.
_START = {"range": f"bytes=0-{SNIFFED_BYTES - 1}"}
_FROM_START = re.compile(r"bytes=0-([0-9]{0,18})", re.ASCII)
_UNKNOWN = "application/octet-stream"

_ASKED = (b"range", b"if-range", b"if-none-match", b"if-modified-since")
_PASSED = ("Content-Length", "Content-Range", "ETag", "Last-Modified", "Accept-Ranges")
_PASSED_WITHOUT_BODY = ("Content-Range", "ETag", "Last-Modified", "Accept-Ranges")

#: Start, stop and total of a part.
Part = tuple[int, int, int | None]

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
        part = _check(origin, asked)
        has_body = origin.status in {200, 206}
        first = await first_bytes(chunks) if has_body else b""
        headers = _passed(origin, part, _PASSED if has_body else _PASSED_WITHOUT_BODY)
        headers += _described(ask, origin, part, first, seconds_left)
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
    return not found[1] or int(found[1]) >= SNIFFED_BYTES - 1


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


def _check(origin: Relayed, asked: Mapping[str, str]) -> Part | None:
    """Which part a 206 is. Raises OriginUnavailable for an answer to something else."""
    reasons = _ANSWERS_TO.get(origin.status)
    if reasons is not None and reasons.isdisjoint(asked):
        raise OriginUnavailable(f"the origin answered {origin.status} to a plain GET")
    if origin.headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
        raise OriginRefused("the origin sent an encoded body although identity was asked")
    length = origin.headers.get("Content-Length")
    if length is not None and not (length.isascii() and length.isdigit() and len(length) < 19):
        raise OriginUnavailable("the origin sent a length that is none")
    if origin.status == 206:
        part = parse_content_range(origin.headers.get("Content-Range", ""))
        if part is None:
            raise OriginUnavailable("the origin sent a part and does not say which")
        if length is not None and int(length) != part[1] - part[0]:
            raise OriginUnavailable("the origin sent another part than it says")
        return part
    return None


def _passed(origin: Relayed, part: Part | None, names: tuple[str, ...]) -> list[tuple[str, str]]:
    is_framed = part is None or "Content-Length" in origin.headers
    # What is framed otherwise is held to the length that its place in the object gives it.
    told = [] if is_framed or part is None else [("content-length", str(part[1] - part[0]))]
    return told + [
        (name.lower(), origin.headers[name].encode("utf-8", "surrogateescape").decode("latin-1"))
        for name in names
        if name in origin.headers and (name != "Content-Range" or origin.status in {206, 416})
    ]


def _described(ask: Ask, origin: Relayed, part: Part | None, first: bytes, seconds_left: int) -> list[tuple[str, str]]:
    """The type, from the object's first bytes alone; how long it may be kept. Raises OriginRefused."""
    if origin.status == 416:
        return [("content-length", "0"), ("cache-control", "no-store")]
    caching = ("cache-control", f"private, max-age={max(0, min(3600, seconds_left))}")
    if origin.status == 304:
        return [caching]
    if part is None or (part[0] == 0 and (len(first) >= SNIFFED_BYTES or part[1] == part[2])):
        content_type = _type_from_start(ask, origin, first)
    else:
        start, content_type = ask.start, _UNKNOWN
        if start is not None and start.etag == origin.headers.get("ETag"):
            content_type = start.content_type
        else:
            ask.forget()  # another version by now: the next part asks for its first bytes anew
    return [("content-type", content_type), ("content-disposition", disposition(content_type)), caching]
