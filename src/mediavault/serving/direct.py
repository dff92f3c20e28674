"""Direct serving: an origin's bytes passed through and never kept.

For connections whose Vault+ is off, and for viewers while the disk has no room. The origin answers the range itself;
`vault/fills/relaying` asks it.
"""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

from mediavault.domain.byte_ranges import Slice
from mediavault.errors import OriginRefused, OriginUnavailable
from mediavault.serving.outlet import CHUNK_BYTES
from mediavault.serving.requests import Request
from mediavault.serving.responses import UNKNOWN_END, Body, Response, disposition
from mediavault.serving.sources import Streamed
from mediavault.vault.fills.filling import first_bytes, verified_content_type
from mediavault.vault.fills.relaying import Ask, Relayed

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
            for start in range(0, len(chunk), CHUNK_BYTES):
                yield chunk[start : start + CHUNK_BYTES]

    async def aclose(self) -> None:
        """Let the origin go."""
        await self._held.aclose()


async def relay(ask: Ask, request: Request, *, seconds_left: int) -> Response:
    """The origin's answer, as it is handed on. Raises OriginError, OriginBusy."""
    asked = _asked(request)
    async with AsyncExitStack() as held:
        origin = await held.enter_async_context(ask(asked))
        chunks = await held.enter_async_context(aclosing(origin.chunks()))
        _check(origin, asked)
        has_body = origin.status in {200, 206}
        first = await first_bytes(chunks) if has_body else b""
        headers = _passed(origin, _PASSED if has_body else _PASSED_WITHOUT_BODY)
        headers += _described(origin, first, seconds_left)
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


def _check(origin: Relayed, asked: dict[str, str]) -> None:
    reasons = _ANSWERS_TO.get(origin.status)
    if reasons is not None and reasons.isdisjoint(asked):
        raise OriginUnavailable(f"the origin answered {origin.status} to a plain GET")
    if origin.headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
        raise OriginRefused("the origin sent an encoded body although identity was asked")
    length = origin.headers.get("Content-Length")
    if length is not None and not (length.isascii() and length.isdigit() and len(length) < 19):
        raise OriginUnavailable("the origin sent a length that is none")


def _passed(origin: Relayed, names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [
        (name.lower(), origin.headers[name].encode("utf-8", "surrogateescape").decode("latin-1"))
        for name in names
        if name in origin.headers
    ]


def _described(origin: Relayed, first: bytes, seconds_left: int) -> list[tuple[str, str]]:
    """The type, from the bytes where they are the file's first ones; how long it may be kept. Raises OriginRefused."""
    if origin.status == 416:
        return [("content-length", "0"), ("cache-control", "no-store")]
    caching = ("cache-control", f"private, max-age={max(0, min(3600, seconds_left))}")
    if origin.status == 304:
        return [caching]
    whole = origin.status == 200 or origin.headers.get("Content-Range", "").startswith("bytes 0-")
    content_type = verified_content_type(first if whole else b"", origin.headers.get("Content-Type"))
    return [("content-type", content_type), ("content-disposition", disposition(content_type)), caching]
