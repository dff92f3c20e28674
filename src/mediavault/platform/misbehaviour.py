"""Carries out the faults: a wrapper around the whole platform that spoils the answers they match."""

import asyncio
from collections.abc import Iterator

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mediavault.platform.answers import client_leaves
from mediavault.platform.faults import ArmedFault, Fault, Faults

_TICK_SECONDS = 0.02
_LARGEST_PIECE_BYTES = 1 << 16


class Dropped(Exception):
    """The connection is to be dropped in the middle of the answer."""


def misbehaving(application: ASGIApp, faults: Faults) -> ASGIApp:
    """The application, as the faults let it be."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        armed = faults.meet(scope["path"])
        if armed is None:
            await application(scope, receive, send)
            return
        fault = armed.fault
        if fault.latency_ms:
            await asyncio.sleep(fault.latency_ms / 1000)
        if fault.ignore_range:
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"range"]}
        spoiled = _Spoiled(armed, receive, send)
        try:
            await (_replacement(fault) if fault.replaces_answer else application)(scope, receive, spoiled)
        except Dropped:
            # An answer left incomplete makes the server close the connection: what was sent arrives, no more follows.
            return
        finally:
            spoiled.close()

    return answer


def _replacement(fault: Fault) -> Response:
    status = fault.status or (302 if fault.redirect is not None else 200)
    if fault.body is not None:
        return Response(fault.body, status, media_type=fault.content_type or "text/html")
    return Response("" if status in (204, 304) else f"Fault {status}\n", status, media_type="text/plain")


class _Spoiled:
    """A `send` that spoils what passes through it."""

    def __init__(self, armed: ArmedFault, receive: Receive, send: Send) -> None:
        self._armed, self._receive, self._send = armed, receive, send
        self._sent_bytes = 0
        self._started_at: float | None = None
        self._client_left: asyncio.Task[None] | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._send(self._head(message))
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        for piece in self._pieces(body):
            await self._drop_or_stall()
            await self._wait_until_due()
            await self._send({**message, "body": piece, "more_body": True})
            self._sent_bytes += len(piece)
        if not more:
            await self._drop_or_stall()
            await self._send({**message, "body": b"", "more_body": False})

    def close(self) -> None:
        """Stop listening for the client."""
        if self._client_left is not None:
            self._client_left.cancel()

    def _head(self, message: Message) -> Message:
        fault = self._armed.fault
        changed = {name.lower(): value for name, value in fault.headers.items()}
        if fault.content_type is not None:
            changed["content-type"] = fault.content_type
        if fault.redirect is not None:
            changed["location"] = fault.redirect
        if fault.retry_after is not None:
            changed["retry-after"] = str(fault.retry_after)
        gone = {name.encode("latin-1") for name in changed} | (
            {b"content-length"} if fault.omit_content_length else set()
        )
        kept = [(name, value) for name, value in message["headers"] if name not in gone]
        added = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in changed.items()]
        return {**message, "status": fault.status or message["status"], "headers": kept + added}

    def _pieces(self, body: bytes) -> Iterator[bytes]:
        """The body in parts of one tick each, cut exactly where something is to happen."""
        fault = self._armed.fault
        size = _LARGEST_PIECE_BYTES
        if fault.bytes_per_second is not None:
            size = max(1, min(size, int(fault.bytes_per_second * _TICK_SECONDS)))
        cuts = sorted(cut for cut in (fault.truncate_at, fault.stall_at) if cut is not None)
        start = 0
        while start < len(body):
            stop = start + size
            for cut in cuts:
                if self._sent_bytes < cut:
                    stop = min(stop, start + cut - self._sent_bytes)
            yield body[start:stop]
            start = stop

    async def _wait_until_due(self) -> None:
        """Keep to the rate: each piece goes out when those before it have had their time."""
        rate = self._armed.fault.bytes_per_second
        if rate is None or self._armed.cleared:
            return
        loop = asyncio.get_running_loop()
        if self._started_at is None:
            self._started_at = loop.time()
        await self._wait(self._started_at + self._sent_bytes / rate - loop.time())

    async def _drop_or_stall(self) -> None:
        """Do so, if this is the place."""
        fault = self._armed.fault
        if fault.truncate_at is not None and self._sent_bytes >= fault.truncate_at:
            raise Dropped
        while fault.stall_at is not None and self._sent_bytes >= fault.stall_at and not self._armed.cleared:
            await self._wait(_TICK_SECONDS)

    async def _wait(self, seconds: float) -> None:
        """Raises Dropped as soon as the client has left."""
        if self._client_left is None:
            self._client_left = asyncio.create_task(client_leaves(self._receive))
        if seconds > 0:
            await asyncio.wait({self._client_left}, timeout=seconds)
        if self._client_left.done():
            raise Dropped
