"""The outside of a guarded client, played: a canary nobody may reach, resolvers that lie, and a wire that is cut."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mediavault.origin.addresses import AllowList
from mediavault.origin.client import ClientConfig, GuardedClient

#: Public, and never reached: `wire_cut` ends every dial to it on this machine.
PUBLIC = "93.184.215.14"
ALSO_PUBLIC = "2606:4700::1111"


@dataclass
class Canary:
    """A listener on loopback: how often it was connected to, and what it was sent."""

    port: int = 0
    hits: int = 0
    heard: bytearray = field(default_factory=bytearray)
    _gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def hit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hits += 1
        with contextlib.suppress(OSError):
            while sent := await reader.read(4096):
                self.heard += sent
                if b"\r\n\r\n" in self.heard:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nreached")
                    break
        writer.close()
        self._gone.set()

    async def until_gone(self) -> None:
        """Until a connection has ended."""
        async with asyncio.timeout(20):
            await self._gone.wait()


@contextlib.asynccontextmanager
async def canary() -> AsyncIterator[Canary]:
    """On 127.0.0.1 and, where the machine has it, on ::1, at one port."""
    listening = Canary()
    servers = [await asyncio.start_server(listening.hit, "127.0.0.1", 0)]
    listening.port = servers[0].sockets[0].getsockname()[1]
    with contextlib.suppress(OSError):
        servers.append(await asyncio.start_server(listening.hit, "::1", listening.port))
    try:
        yield listening
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()


@contextlib.asynccontextmanager
async def client(allow: str = "", **config: Any) -> AsyncIterator[GuardedClient]:
    """A guarded client."""
    made = GuardedClient(ClientConfig(allow=AllowList.parse(allow), **config))
    try:
        yield made
    finally:
        await made.close()


async def get(dialling: GuardedClient, url: str, **headers: str) -> bytes:
    """The body of a GET, redirects followed."""
    async with dialling.get(url, headers) as response:
        return await response.read(1_000_000)


async def post(dialling: GuardedClient, url: str) -> bytes:
    """The body of a POST with secrets, as a webhook or an upstream is asked."""
    async with dialling.request("POST", url, {"Cookie": "sess=1", "apiKey": "secret"}, b"{}") as response:
        return await response.read(1_000_000)


@dataclass
class Resolver:
    """The system's resolver: what it answers to a name, and which names it was asked."""

    answers: Callable[[str], Sequence[str]]
    asked: list[str] = field(default_factory=list)

    async def getaddrinfo(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        return [_address_info(address, port) for address in self.answers(host)]


def _address_info(text: str, port: int) -> tuple[Any, ...]:
    address, _, scope = text.partition("%")
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "alias.example", (address, port, 0, int(scope or 0)))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "alias.example", (address, port))


@dataclass
class Wire:
    """What was dialled outside this machine: each dial was refused here."""

    dialled: list[str] = field(default_factory=list)
    #: Where a dial to a public address really ends; None: it is refused.
    ends_at: tuple[str, int] | None = None


@contextlib.contextmanager
def wire_cut(monkeypatch: Any) -> Iterator[Wire]:
    """No dial leaves this machine while it lasts."""
    wire, loop = Wire(), asyncio.get_running_loop()
    dial = loop.sock_connect

    async def sock_connect(sock: socket.socket, address: tuple[Any, ...]) -> None:
        if address[0] not in {PUBLIC, ALSO_PUBLIC}:
            return await dial(sock, address)
        wire.dialled.append(str(address[0]))
        if wire.ends_at is None:
            raise ConnectionRefusedError("the wire is cut")
        return await dial(sock, wire.ends_at)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "sock_connect", sock_connect)
        yield wire
