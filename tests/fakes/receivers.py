"""A webhook receiver on this machine: it keeps what it is sent, and answers as it is told."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
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


@dataclass(frozen=True)
class Answer:
    """How a request is answered."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"as told"


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class Receiver:
    """What came, and how the next requests are answered: 200 where nothing is told.

    While `quick` is not set, answers are kept back.
    """

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answers: deque[int | Answer] = field(default_factory=deque)
    refused: Callable[[Received], bool] = lambda _: False  #: with 500, whatever else was told
    quick: asyncio.Event = field(default_factory=_set)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: Request) -> Response:
        told = self.answers.popleft() if self.answers else 200
        answer = told if isinstance(told, Answer) else Answer(told)
        received = Received(request.url.path, dict(request.headers), await request.body(), answer.status)
        if self.refused(received):
            answer, received = Answer(500), replace(received, answered=500)
        self.received.append(received)
        self.came.set()
        await self.quick.wait()
        return Response(answer.body, answer.status, answer.headers)

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
        try:
            yield receiver
        finally:
            receiver.quick.set()
