"""An upstream that answers what a test says, and remembers what it was asked."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fakes.running import serving


@dataclass
class Asked:
    """A request, as it arrived."""

    method: str
    path: str  #: raw
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: str) -> list[str]:
        return [value.decode("latin-1") for given, value in self.headers if given == name.lower().encode()]


@dataclass
class Upstream:
    """`/self` answers the user; everything else answers `status`, `headers` and `body`."""

    url: str = ""
    user: Any = field(default_factory=lambda: {"id": 7, "username": "nova", "name": "Nova"})
    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=lambda: [(b"content-type", b"application/json")])
    body: bytes = b"{}"
    asked: list[Asked] = field(default_factory=list)

    def says(self, body: Any, status: int = 200, content_type: str = "application/json", **headers: str) -> None:
        """From now on; a `body` that is not bytes is sent as JSON."""
        self.status = status
        self.body = body if isinstance(body, bytes) else msgspec.json.encode(body)
        named = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
        self.headers = [(b"content-type", content_type.encode()), *named] if content_type else named

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        path = scope["raw_path"].decode("latin-1")
        self.asked.append(Asked(scope["method"], path, scope["query_string"], list(scope["headers"]), body))
        status, headers, content = self.status, self.headers, self.body
        if path.endswith("/self") and self.user is not None:
            status, headers = 200, [(b"content-type", b"application/json")]
            content = msgspec.json.encode(self.user)
        framing = [] if status in {204, 304} else [(b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": status, "headers": [*headers, *framing]})
        await send({"type": "http.response.body", "body": content})


@contextlib.asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    """A fresh one on a port of this machine."""
    made = Upstream()
    async with serving(made) as made.url:
        yield made


@contextlib.asynccontextmanager
async def raw_upstream(answers: dict[str, bytes]) -> AsyncIterator[str]:
    """Its URL: `/self` is answered as it should be, everything else with the bytes of the path's last part."""
    user = b'{"id":7,"username":"nova","name":"Nova"}'
    usual = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(user), user)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            target = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
            writer.write(answers.get(target.partition("?")[0].rpartition("/")[2], usual))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()
        await server.wait_closed()
