"""Direct serving: an origin's bytes passed through and never kept.

For connections whose Vault+ is off, and for viewers while the disk has no room. The origin answers the range itself.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from mediavault.errors import OriginRefused, OriginUnavailable, VaultError
from mediavault.origin.client import GuardedClient, Response
from mediavault.origin.media_fetch import check_status
from mediavault.serving.responses import ALWAYS, Viewer, disposition
from mediavault.telemetry import Events, logger
from mediavault.vault.filling import first_bytes, verified_content_type

_ASKED = (b"range", b"if-range", b"if-none-match", b"if-modified-since")
_PASSED = ("Content-Length", "Content-Range", "ETag", "Last-Modified", "Accept-Ranges")
_PASSED_WITHOUT_BODY = ("Content-Range", "ETag", "Last-Modified", "Accept-Ranges")

#: What a viewer must have asked with, for the origin to answer so.
_ANSWERS_TO = {
    206: frozenset({"range"}),
    304: frozenset({"if-none-match", "if-modified-since"}),
    416: frozenset({"range"}),
}


async def serve_direct(
    client: GuardedClient, url: str, scope: Any, receive: Any, send: Any, *, request_id: bytes, seconds_left: int
) -> None:
    """Stream `url` to the viewer. Raises OriginError before the first byte; afterwards the connection is broken."""
    asked = _asked(scope["headers"])
    async with client.get(url, asked) as response, aclosing(response.chunks()) as chunks:
        _check(response, asked)
        has_body = response.status in {200, 206}
        first = await first_bytes(chunks) if has_body else b""
        headers = [*ALWAYS, (b"x-request-id", request_id), *_passed(response, _PASSED if has_body else ())]
        headers += _described(response, first, seconds_left)
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if scope["method"] == "HEAD" or not has_body:
            await send({"type": "http.response.body", "body": b""})
        else:
            await _relay(first, chunks, receive, send)


def _asked(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """What of the request the origin is asked too. Several ranges are not: its parts would have to be taken apart."""
    asked = {name.decode(): value.decode("latin-1") for name, value in headers if name in _ASKED}
    lines = sum(name == b"range" for name, _ in headers)
    if lines > 1 or "," in asked.get("range", ""):
        del asked["range"]
    return asked


def _check(response: Response, asked: dict[str, str]) -> None:
    check_status(response)
    reasons = _ANSWERS_TO.get(response.status)
    if reasons is not None and reasons.isdisjoint(asked):
        raise OriginUnavailable(f"the origin answered {response.status} to a plain GET")
    if response.headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
        raise OriginRefused("the origin sent an encoded body although identity was asked")


def _passed(response: Response, names: tuple[str, ...]) -> list[tuple[bytes, bytes]]:
    return [
        (name.lower().encode(), response.headers[name].encode("utf-8", "surrogateescape"))
        for name in names or _PASSED_WITHOUT_BODY
        if name in response.headers
    ]


def _described(response: Response, first: bytes, seconds_left: int) -> list[tuple[bytes, bytes]]:
    """The type, from the bytes where they are the file's first ones; how long it may be kept. Raises OriginRefused."""
    if response.status == 416:
        return [(b"content-length", b"0"), (b"cache-control", b"no-store")]
    caching = (b"cache-control", b"private, max-age=%d" % max(0, min(3600, seconds_left)))
    if response.status == 304:
        return [caching]
    whole = response.status == 200 or response.headers.get("Content-Range", "").startswith("bytes 0-")
    content_type = verified_content_type(first if whole else b"", response.headers.get("Content-Type"))
    return [
        (b"content-type", content_type.encode("ascii")),
        (b"content-disposition", disposition(content_type)),
        caching,
    ]


async def _relay(first: bytes, chunks: AsyncIterator[bytes], receive: Any, send: Any) -> None:
    viewer = Viewer(receive)
    try:
        await send({"type": "http.response.body", "body": first, "more_body": True})
        async for chunk in chunks:
            if viewer.left:
                return
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except VaultError as error:
        logger().warning(Events.BODY_CUT, reason=str(error))
        raise
    finally:
        viewer.close()
    await send({"type": "http.response.body", "body": b""})
