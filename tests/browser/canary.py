"""A listener that counts who calls it, and a host that serves hostile files as carelessly as a host can."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from browser.polyglots import Polyglot
from fakes.running import serving

_PAGE = b"<!doctype html><title>somebody's page</title><body>"


@dataclass
class Canary:
    """`/page` is a page of nobody's in particular; every other path is a call, kept in `calls`."""

    url: str = ""
    calls: list[str] = field(default_factory=list)

    def of(self, name: str) -> list[str]:
        """The calls that a file of that name made."""
        return [call for call in self.calls if call.partition("?")[0] == f"/{name}"]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        path, query = scope["path"], scope["query_string"].decode()
        if path == "/page":
            await _answer(send, 200, b"text/html", _PAGE)
            return
        if path != "/favicon.ico":
            self.calls.append(f"{path}?{query}" if query else path)
        await _answer(send, 200, b"text/plain", b"")


@dataclass
class CarelessHost:
    """What the vault must not be: every file with the type its origin declared, and not a header more."""

    url: str = ""
    files: dict[str, Polyglot] = field(default_factory=dict)

    def serve(self, polyglot: Polyglot) -> str:
        """The URL under which it is served from now on."""
        self.files[f"/{polyglot.name}"] = polyglot
        return f"{self.url}/{polyglot.name}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        found = self.files.get(scope["path"])
        if found is None:
            await _answer(send, 404, b"text/plain", b"")
        else:
            await _answer(send, 200, found.declared.encode(), found.data)


async def _answer(send: Any, status: int, content_type: bytes, body: bytes) -> None:
    headers = [(b"access-control-allow-origin", b"*"), (b"content-length", b"%d" % len(body))]
    if content_type:
        headers.append((b"content-type", content_type))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def canary() -> AsyncIterator[Canary]:
    """A fresh one on a port of this machine."""
    made = Canary()
    async with serving(made) as made.url:
        yield made


@contextlib.asynccontextmanager
async def careless_host() -> AsyncIterator[CarelessHost]:
    """A fresh one on a port of this machine."""
    made = CarelessHost()
    async with serving(made) as made.url:
        yield made
