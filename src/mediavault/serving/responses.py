"""Responses: the headers every answer of the media host has, and the sending of bytes."""

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any

from mediavault.domain import media_type
from mediavault.domain.byte_ranges import Slice
from mediavault.domain.responding import Answer
from mediavault.errors import VaultError
from mediavault.problems import Problem
from mediavault.serving.sources import CHUNK_BYTES, Source
from mediavault.telemetry import Events, logger

Headers = list[tuple[bytes, bytes]]

#: The end of a slice whose end nobody knows.
_UNKNOWN_END = 1 << 62
_LONGEST_CACHING_SECONDS = 86_400
#: The loop is let go once for so many bytes: neither a viewer who left nor one on a fast line makes `send` wait.
_BYTES_AT_A_TIME = 4 * CHUNK_BYTES

#: What the conditions and ranges of a request can be refused with.
_REFUSED = {
    412: ("PRECONDITION_FAILED", "The media is not the version that was asked for"),
    416: ("RANGE_NOT_SATISFIABLE", "The range holds no byte of the media"),
}

#: What every answer has, errors too.
ALWAYS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"sandbox; default-src 'none'"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"access-control-allow-origin", b"*"),
    (
        b"access-control-expose-headers",
        b"Accept-Ranges, Content-Length, Content-Range, ETag, Repr-Digest, X-Request-Id",
    ),
    (b"timing-allow-origin", b"*"),
]


async def respond(
    receive: Any, send: Any, source: Source, answer: Answer, *, request_id: bytes, seconds_left: int
) -> None:
    """Send the answer. A source that fails on the way breaks the connection: never a short body that looks whole."""
    if answer.status in _REFUSED:
        kind, text = _REFUSED[answer.status]
        refused = Problem(answer.status, kind, text, dict(answer.headers))
        await respond_problem(send, refused, request_id=request_id.decode(), head=answer.head_only)
        return
    max_age = max(0, min(_LONGEST_CACHING_SECONDS, seconds_left))
    headers = [*ALWAYS, (b"x-request-id", request_id), *_encoded(answer.headers)]
    headers.append((b"cache-control", b"private, max-age=%d" % max_age))
    if answer.status in {200, 206}:
        headers.append((b"content-disposition", disposition(source.representation.content_type)))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if answer.head_only or not (answer.slices or answer.streams_to_end):
        await send({"type": "http.response.body", "body": b""})
        return
    await _send_body(receive, send, source, answer)


def disposition(content_type: str) -> bytes:
    """Only media that no browser runs as a document is shown in place."""
    return b"inline" if media_type.canonical(content_type) in media_type.INLINE_SAFE else b"attachment"


class Viewer:
    """Tells whether the viewer has left: the server swallows what is sent to nobody."""

    def __init__(self, receive: Any) -> None:
        self._receive = receive
        self._watch = asyncio.create_task(self._wait_until_left())

    @property
    def left(self) -> bool:
        """Whether the connection is gone."""
        return self._watch.done()

    def close(self) -> None:
        """Stop watching."""
        self._watch.cancel()

    async def _wait_until_left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue


async def _send_body(receive: Any, send: Any, source: Source, answer: Answer) -> None:
    """Send slices until they end or the viewer leaves. A body of one chunk is not worth a watch, nor a second send."""
    slices = list(answer.parts()) if answer.slices else [(b"", Slice(0, _UNKNOWN_END))]
    viewer = Viewer(receive) if sum(piece.length for _, piece in slices) > CHUNK_BYTES else None
    try:
        for place, (head, piece) in enumerate(slices, start=1):
            if head:
                await send({"type": "http.response.body", "body": head, "more_body": True})
            is_last = place == len(slices) and not answer.closing
            if not await _send_slice(send, source, piece, viewer, is_last=is_last):
                return
        await send({"type": "http.response.body", "body": answer.closing})
    except VaultError as error:
        logger().warning(Events.BODY_CUT, reason=str(error))
        raise
    finally:
        if viewer is not None:
            viewer.close()


async def _send_slice(send: Any, source: Source, piece: Slice, viewer: Viewer | None, *, is_last: bool) -> bool:
    """Whether something is left to be sent to a viewer who is still there."""
    left, breath = piece.length, _BYTES_AT_A_TIME
    async with aclosing(source.chunks(piece)) as chunks:
        async for chunk in chunks:
            left, breath = left - len(chunk), breath - len(chunk)
            if breath <= 0:
                breath = _BYTES_AT_A_TIME
                await asyncio.sleep(0)
            if viewer is not None and viewer.left:
                return False
            ends = is_last and left == 0
            await send({"type": "http.response.body", "body": chunk, "more_body": not ends})
            if ends:
                return False
    return True


async def respond_problem(send: Any, problem: Problem, *, request_id: str, head: bool) -> None:
    """An error of the contract's shape; never cached."""
    body = problem.body(request_id)
    await respond_json(send, problem.status, body, request_id=request_id, headers=problem.headers.items(), head=head)


async def respond_json(
    send: Any, status: int, body: bytes, *, request_id: str, headers: Iterable[tuple[str, str]] = (), head: bool = False
) -> None:
    """A small JSON answer."""
    lines = [
        *ALWAYS,
        (b"x-request-id", request_id.encode()),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *_encoded(headers),
    ]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": b"" if head else body})


def _encoded(headers: Iterable[tuple[str, str]]) -> Headers:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
