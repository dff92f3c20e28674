"""An origin below HTTP: it answers every request with the very bytes it was given, and ends as it was told."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto


class Ending(Enum):
    """What becomes of the connection after the last byte."""

    FIN = auto()
    RESET = auto()
    SILENCE = auto()  #: until the other side gives up
    ENDLESS = auto()  #: the last 64 KiB again and again


@dataclass
class RawOrigin:
    """Where it listens, and how often it was asked."""

    url: str = ""
    hits: int = 0
    _closing: asyncio.Event = field(default_factory=asyncio.Event)


def head(status: str = "200 OK", **headers: object) -> bytes:
    """The head of an answer; `content_length=` becomes `content-length`."""
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    return f"HTTP/1.1 {status}\r\n{''.join(lines)}\r\n".encode("latin-1")


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with an RST instead of a FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.asynccontextmanager
async def raw_origin(answer: bytes, ending: Ending) -> AsyncIterator[RawOrigin]:
    """A listening origin."""
    origin = RawOrigin()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            origin.hits += 1
            writer.write(answer)
            await writer.drain()
            await _end(writer, ending, answer, origin._closing)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    origin.url = f"http://{host}:{port}/raw"
    try:
        yield origin
    finally:
        origin._closing.set()
        server.close()
        await asyncio.sleep(0)
        await server.wait_closed()


async def _end(writer: asyncio.StreamWriter, ending: Ending, answer: bytes, closing: asyncio.Event) -> None:
    if ending is Ending.RESET:
        await asyncio.sleep(0.05)  # an RST overtakes what the other side has not read yet
        reset(writer)
    elif ending is Ending.SILENCE:
        await closing.wait()
    while ending is Ending.ENDLESS and not closing.is_set():
        writer.write(answer[-(1 << 16) :])
        await writer.drain()


@contextlib.contextmanager
def full_backlog() -> Iterator[str]:
    """The URL of a listener whose queue is full: a connection to it is neither made nor refused."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/never"


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    """A URL that refuses connections: the port is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/refused"
