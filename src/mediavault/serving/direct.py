"""Direct serving: an origin's bytes passed through and never kept.

For connections whose Vault+ is off, and for viewers while the disk has no room. The origin answers the range itself.
"""

from contextlib import aclosing
from typing import Any

from mediavault.domain import media_type
from mediavault.errors import OriginRefused, VaultError
from mediavault.origin.client import GuardedClient, Response
from mediavault.origin.media_fetch import check_status
from mediavault.serving.responses import ALWAYS, Viewer, disposition
from mediavault.telemetry import Events, logger

_ASKED = (b"range", b"if-range", b"if-none-match", b"if-modified-since")
_PASSED = ("Content-Length", "Content-Range", "ETag", "Last-Modified", "Accept-Ranges")


async def serve_direct(
    client: GuardedClient, url: str, scope: Any, receive: Any, send: Any, *, request_id: bytes, seconds_left: int
) -> None:
    """Stream `url` to the viewer. Raises OriginError before the first byte; afterwards the connection is broken."""
    asked = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _ASKED}
    async with client.get(url, asked) as response:
        check_status(response)
        content_type = media_type.canonical(response.headers.get("Content-Type")) or "application/octet-stream"
        if response.status in {200, 206} and content_type in {"text/html", "application/json", "text/xml"}:
            raise OriginRefused(f"the origin sent {content_type} instead of media")
        headers = _headers(response, content_type, request_id, seconds_left)
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if scope["method"] == "HEAD" or response.status in {304, 416}:
            await send({"type": "http.response.body", "body": b""})
            return
        await _relay(response, receive, send)


def _headers(response: Response, content_type: str, request_id: bytes, seconds_left: int) -> list[tuple[bytes, bytes]]:
    passed = [
        (name.lower().encode(), response.headers[name].encode("latin-1"))
        for name in _PASSED
        if name in response.headers
    ]
    return [
        *ALWAYS,
        (b"x-request-id", request_id),
        (b"content-type", content_type.encode("latin-1")),
        (b"content-disposition", disposition(content_type)),
        (b"cache-control", b"private, max-age=%d" % max(0, min(3600, seconds_left))),
        *passed,
    ]


async def _relay(response: Response, receive: Any, send: Any) -> None:
    viewer = Viewer(receive)
    try:
        async with aclosing(response.chunks()) as chunks:
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
