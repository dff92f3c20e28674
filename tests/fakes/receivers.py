"""A webhook receiver on this machine: it keeps what it is sent, and answers as it is told."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fakes.running import serving


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes
    answered: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def type(self) -> str:
        return str(self.json["eventType"])


@dataclass
class Receiver:
    """What came, and the statuses that the next requests are answered with; 200 when there is none left."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answers: deque[int] = field(default_factory=deque)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: Request) -> Response:
        status = self.answers.popleft() if self.answers else 200
        self.received.append(Received(request.url.path, dict(request.headers), await request.body(), status))
        self.came.set()
        return Response(b"as told", status)

    async def until(self, count: int, seconds: float = 20) -> list[Received]:
        """What came, once that many came."""
        async with asyncio.timeout(seconds):
            while len(self.received) < count:
                self.came.clear()
                await self.came.wait()
        return self.received


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver while it is served."""
    receiver = Receiver()
    application = Starlette(routes=[Route("/{rest:path}", receiver.take, methods=["POST"])])
    async with serving(application) as receiver.url:
        yield receiver
