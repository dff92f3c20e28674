"""A proxy before PostgreSQL that cuts a connection at a COMMIT, before or after the server has heard it, or is down."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit


class Cut(Enum):
    """What the server has heard when the connection is gone."""

    UNHEARD = "the COMMIT is lost"
    UNANSWERED = "it commits, and its answer is lost"


@dataclass
class CuttingProxy:
    """Cuts the n-th COMMIT that passes, counted from 1; none while `at` is 0."""

    host: str
    port: int
    at: int = 0
    cut: Cut = Cut.UNHEARD
    down: bool = False
    commits: int = 0
    made: int = 0  #: how often it has cut
    url: str = ""
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def go_down(self) -> None:
        """Cut every connection, and take no other until told."""
        self.down = True
        for writer in list(self._writers):
            writer.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        if self.down:
            writer.transport.abort()
            return
        server_reader, server_writer = await asyncio.open_connection(self.host, self.port)
        self._writers |= {writer, server_writer}
        answers = asyncio.create_task(self._pass(server_reader, writer))
        try:
            await self._listen(reader, server_writer, server_reader, answers)
        except OSError:
            pass  # one side is gone, and so is the other
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            for each in (writer, server_writer):
                self._writers.discard(each)
                each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def _listen(
        self,
        reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        answers: "asyncio.Task[None]",
    ) -> None:
        while data := await reader.read(1 << 16):
            if self._is_to_be_cut(data):
                self.made += 1
                if self.cut is Cut.UNHEARD:
                    return
                answers.cancel()
                await asyncio.gather(answers, return_exceptions=True)
                server_writer.write(data)
                await server_reader.read(1)  # it has answered, so it has committed
                return
            server_writer.write(data)
            await server_writer.drain()

    def _is_to_be_cut(self, data: bytes) -> bool:
        if b"COMMIT" not in data:
            return False
        self.commits += 1
        return self.commits == self.at


@contextlib.asynccontextmanager
async def cutting_proxy(database_url: str) -> AsyncIterator[CuttingProxy]:
    """The proxy, before the server of that URL."""
    parts = urlsplit(database_url)
    assert parts.hostname
    assert parts.port
    proxy = CuttingProxy(parts.hostname, parts.port)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy.url = parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{port}").geturl()
    try:
        yield proxy
    finally:
        server.close()
        proxy.go_down()
        await asyncio.sleep(0)
        await server.wait_closed()
