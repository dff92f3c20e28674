"""A media port with a host of the test's own behind it: files, bodies that fail, answers that wait."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

from mediavault.blobs.store import BlobFile
from mediavault.cli.servers import Running, bind, server
from mediavault.domain.byte_ranges import Slice
from mediavault.domain.responding import Representation
from mediavault.errors import OriginUnavailable
from mediavault.serving.protocol import MediaProtocol, Patience
from mediavault.serving.requests import Request
from mediavault.serving.responses import UNKNOWN_END, Body, Response, json_response
from mediavault.serving.sources import FileSource, Streamed

HOST = b"Host: x\r\n"
GET = b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE = b"GET /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
LARGE_BYTES = 24 << 20


def large_file(folder: Path) -> Path:
    """A file that no socket takes at once."""
    path = folder / "large"
    path.write_bytes(bytes(range(256)) * (LARGE_BYTES // 256))
    return path


def get(path: bytes) -> bytes:
    """A GET, as it is sent."""
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n"


class Chunks(Streamed):
    """A source from elsewhere, which may fail, end early, or never go on."""

    def __init__(self, chunks: list[bytes], error: Exception | None = None, gate: asyncio.Event | None = None) -> None:
        self._chunks, self._error, self._gate = chunks, error, gate
        self.closed = False

    async def chunks(self, piece: Slice) -> Any:
        for chunk in self._chunks:
            yield chunk
        if self._gate is not None:
            await self._gate.wait()
        if self._error is not None:
            raise self._error

    async def aclose(self) -> None:
        self.closed = True


class Host:
    """Answers by path; keeps what it was asked and what it gave."""

    def __init__(self, large: Path) -> None:
        self.large = large
        self.requests: list[Request] = []
        self.sources: list[Any] = []
        self.gate = asyncio.Event()
        self.left = 0

    def answer(self, request: Request) -> Any:
        self.requests.append(request)
        match request.path:
            case "/file":
                return self._file(self.large, LARGE_BYTES)
            case "/empty":
                return self._file(Path(os.devnull), 0)
            case "/shrunk":
                return self._file(self.large, LARGE_BYTES + 5)
            case "/waits":
                return self._wait
            case "/fails":
                return self._streamed(Chunks([b"part"], OriginUnavailable("gone")), UNKNOWN_END)
            case "/fails-known":
                return self._streamed(Chunks([b"part"], OriginUnavailable("gone")), 9)
            case "/short":
                return self._streamed(Chunks([b"part"]), 9)
            case "/long":
                return self._streamed(Chunks([b"part" * 5]), 9)
            case "/unknown":
                return self._streamed(Chunks([b"one", b"", b"two"]), UNKNOWN_END)
            case "/hangs":
                return self._streamed(Chunks([b"part"], gate=self.gate), 9)
            case "/breaks":
                return self._raise
        return json_response(200, request.path.encode())

    def _file(self, path: Path, size: int) -> Response:
        source = FileSource(BlobFile(os.open(path, os.O_RDONLY), size), Representation('"x"', size, "image/jpeg"))
        self.sources.append(source)
        return Response(200, (("content-length", str(size)),), body=Body(source, ((b"", Slice(0, size)),)))

    def _streamed(self, source: Chunks, length: int) -> Response:
        self.sources.append(source)
        known = length != UNKNOWN_END
        headers = (("content-length", str(length)),) if known else ()
        return Response(200, headers, body=Body(source, ((b"", Slice(0, length)),), length_known=known))

    async def _wait(self) -> Response:
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        return json_response(200, b"waited")

    async def _raise(self) -> Response:
        raise RuntimeError("unforeseen")


class Port:
    """A served host, and clients of it that write bytes as they please."""

    def __init__(self, host: Host, running: Running, address: tuple[str, int]) -> None:
        self.host, self.running, self.address = host, running, address

    async def say(self, *sent: bytes, half_close: bool = False) -> bytes:
        """Everything the server says until it closes."""
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            for part in sent:
                writer.write(part)
                await writer.drain()
            if half_close:
                writer.write_eof()
            async with asyncio.timeout(20):
                return await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    @property
    def connections(self) -> set[Any]:
        return self.running._servers[0].server_state.connections


@contextlib.asynccontextmanager
async def serve(
    large: Path, patience: Patience | None = None, drain_seconds: float = 0.2, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Port]:
    """A host behind a port of its own."""
    host, listener = Host(large), bind("127.0.0.1", 0)
    protocol: Any = partial(MediaProtocol, patience=patience or Patience())
    one = server(host, drain_seconds=drain_seconds, protocol=protocol)
    one.config.ssl = tls
    running = Running([(one, listener)])
    await running.started()
    try:
        yield Port(host, running, listener.getsockname())
    finally:
        await running.stop()


def answers(said: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Status, headers and body of each answer; every body has a length here."""
    found = []
    while said:
        head, _, said = said.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        found.append((int(first.split(" ")[1]), headers, said[:length]))
        said = said[length:]
    return found
