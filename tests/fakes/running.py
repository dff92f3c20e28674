"""Runs an ASGI application on a real port of this machine, in the loop of the test."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp

_DRAIN_SECONDS = 0.2
_DATE_TICK_SECONDS = 1.0


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, *, http: type[asyncio.Protocol] | str = "auto") -> AsyncIterator[str]:
    """The base URL of the application while it is served on 127.0.0.1.

    At the end, requests under way get a moment; then their connections are cut, which they see as the client leaving.
    """
    listener = _listener()
    config = uvicorn.Config(app, http=http, ws="none", log_config=None, log_level="critical", access_log=False)
    server = _Server(config)
    running = asyncio.create_task(server.run_on(listener))
    ready = asyncio.create_task(server.ready.wait())
    try:
        await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ready.cancel()
        server.stopping.set()
        await running


def _listener() -> socket.socket:
    """A bound socket that names its protocol: only then does asyncio set TCP_NODELAY on what it accepts.

    Without, a head and a body written apart cost 40 ms, the client's delayed acknowledgement.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    return listener


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers, its exits and its polling."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready, self.stopping = asyncio.Event(), asyncio.Event()

    async def run_on(self, listener: socket.socket) -> None:
        try:
            await self.serve(sockets=[listener])
        except SystemExit:
            raise RuntimeError("the application did not start") from None
        finally:
            listener.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the test runner's."""
        yield

    async def main_loop(self) -> None:
        self.ready.set()
        while not self.stopping.is_set():
            await self.on_tick(0)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), _DATE_TICK_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listening in self.servers:
            listening.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await self._settle(_DRAIN_SECONDS)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self._settle(_DRAIN_SECONDS)
        for task in self.server_state.tasks:
            task.cancel()
        await self._settle(_DRAIN_SECONDS)
        await self.lifespan.shutdown()

    async def _settle(self, seconds: float) -> None:
        """Wait for the requests under way, and for the transports that close behind them."""
        if self.server_state.tasks:
            await asyncio.wait(set(self.server_state.tasks), timeout=seconds)
        for _ in range(3):
            await asyncio.sleep(0)
