"""The media host: files over signed URLs, as a CDN serves them, and nothing for those who bring secrets along."""

import asyncio
from collections.abc import Callable
from email.utils import formatdate

from starlette.types import Receive, Scope, Send

from mediavault.platform.answers import cdn_error, client_leaves, header
from mediavault.platform.conditions import Conditions, NotModified, Part, Unsatisfiable, part
from mediavault.platform.contents import Content
from mediavault.platform.sandbox import Sandbox
from mediavault.platform.signing import Refused

PREFIX = "/cdn/"
CHUNK_BYTES = 1 << 18
_SECRETS = {b"cookie", b"apikey", b"authorization", b"x-connection-id"}


class Cdn:
    """Answers GET and HEAD below /cdn/."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await cdn_error(405, "MethodNotAllowed", {"Allow": "GET, HEAD"})(scope, receive, send)
            return
        leaked = sorted(name.decode() for name, _ in scope["headers"] if name in _SECRETS)
        if leaked:
            await cdn_error(400, f"Unexpected-{leaked[0]}")(scope, receive, send)
            return
        path = scope["path"].removeprefix(PREFIX)
        try:
            found = self._sandbox.signed_file(path, scope["query_string"].decode("latin-1"))
        except Refused as refusal:
            await cdn_error(403, str(refusal))(scope, receive, send)
            return
        if found is None:
            await cdn_error(404, "NoSuchKey")(scope, receive, send)
            return
        await _serve(found.content, found.modified_at, scope, receive, send)


async def _serve(content: Content, modified_at: int, scope: Scope, receive: Receive, send: Send) -> None:
    validators = [
        (b"etag", content.etag.encode()),
        (b"last-modified", formatdate(modified_at, usegmt=True).encode()),
        (b"cache-control", b"max-age=86400"),
    ]
    try:
        asked = part(_conditions(scope), content.size, content.etag, modified_at)
    except NotModified:
        await send({"type": "http.response.start", "status": 304, "headers": validators})
        await send({"type": "http.response.body"})
        return
    except Unsatisfiable:
        unsatisfied = {"Content-Range": f"bytes */{content.size}"}
        await cdn_error(416, "InvalidRange", unsatisfied)(scope, receive, send)
        return
    await send(_head(content, asked, validators))
    if scope["method"] == "HEAD":
        await send({"type": "http.response.body"})
    else:
        await _body(content.read, asked, receive, send)


def _conditions(scope: Scope) -> Conditions:
    return Conditions(
        header(scope, b"range") if scope["method"] == "GET" else None,
        header(scope, b"if-range"),
        header(scope, b"if-none-match"),
        header(scope, b"if-modified-since"),
    )


def _head(content: Content, asked: Part, validators: list[tuple[bytes, bytes]]) -> dict[str, object]:
    headers = [
        (b"content-type", content.content_type.encode()),
        (b"content-length", str(asked.stop - asked.start).encode()),
        (b"accept-ranges", b"bytes"),
        *validators,
    ]
    if not asked.is_whole:
        headers.append((b"content-range", f"bytes {asked.start}-{asked.stop - 1}/{content.size}".encode()))
    return {"type": "http.response.start", "status": 200 if asked.is_whole else 206, "headers": headers}


async def _body(read: Callable[[int, int], bytes], asked: Part, receive: Receive, send: Send) -> None:
    if asked.stop - asked.start <= CHUNK_BYTES:
        await send({"type": "http.response.body", "body": read(asked.start, asked.stop)})
        return
    client_left = asyncio.create_task(client_leaves(receive))
    try:
        for start in range(asked.start, asked.stop, CHUNK_BYTES):
            stop = min(start + CHUNK_BYTES, asked.stop)
            await send({"type": "http.response.body", "body": read(start, stop), "more_body": stop < asked.stop})
            # A send to a client that left returns at once, and so may any other: without this, others would starve.
            await asyncio.sleep(0)
            if client_left.done():
                return
    finally:
        client_left.cancel()
