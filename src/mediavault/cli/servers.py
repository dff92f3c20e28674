"""Running ASGI applications with uvicorn: several in one loop, on sockets bound before, stopped together.

uvicorn's own signal handling is left out: with two servers it drains one after the other and then raises the signal
again, so that nothing behind it runs. Binding is ours too: its own bind errors end the process.
"""

import asyncio
import contextlib
import errno
import logging
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import uvicorn

from mediavault.errors import ConfigError, Conflict, VaultError
from mediavault.serving.congestion import unpace

_BACKLOG = 2048
_LAST_MOMENT_SECONDS = 1


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the process, and cuts what outlives the drain time."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing to capture."""
        yield

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop. Whatever ends it, nothing is listened on afterwards."""
        try:
            await super().serve(sockets)
        finally:
            for listening in getattr(self, "servers", []):
                listening.close()
            for listener in sockets or []:
                listener.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept."""
        await super().startup(sockets)
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain. Afterwards no request runs and no connection is open: the vault can be taken apart."""
        await super().shutdown(sockets)
        if self.server_state.tasks:
            await asyncio.wait(set(self.server_state.tasks), timeout=_LAST_MOMENT_SECONDS)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks a free one. Raises Conflict where the port is taken, ConfigError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY on what it accepts; without, a response can wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        unpace(listener)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise Conflict(f"{host}:{port} is in use: stop what listens there, or choose another port") from None
        raise ConfigError(f"{host}:{port} cannot be listened on: {error.strerror or error}") from None
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket) -> str:
    """`http://host:port` of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server(
    application: Any, *, drain_seconds: float, protocol: Callable[..., asyncio.Protocol] | None = None
) -> Server:
    """A server for one ASGI application; or, with `protocol`, for what connections of that class serve."""
    config = uvicorn.Config(
        application,
        interface="asgi3",  # as it is: a guess would wrap what is none
        http=protocol or "httptools",  # type: ignore[arg-type]  # it is called, whatever it is
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=drain_seconds,  # type: ignore[arg-type]  # it is handed to asyncio as it is
    )
    config.load()
    return Server(config)


class Running:
    """Servers on their sockets, in tasks of this loop."""

    def __init__(self, served: Sequence[tuple[Server, socket.socket]]) -> None:
        _drop_known_failures()
        self._servers = [one for one, _ in served]
        self._tasks = [asyncio.create_task(one.serve(sockets=[listener])) for one, listener in served]

    async def started(self) -> None:
        """Wait until all accept connections. Raises VaultError when one does not."""
        await self._unless_one_ends(asyncio.gather(*(one.ready.wait() for one in self._servers)))

    async def ended(self) -> None:
        """Never returns, and raises VaultError when a server ends that nobody stopped."""
        await self._unless_one_ends(asyncio.get_running_loop().create_future())

    async def _unless_one_ends(self, awaited: "asyncio.Future[Any]") -> None:
        try:
            await asyncio.wait([awaited, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in self._tasks:
                if task.done():
                    raise VaultError("a server ended by itself") from None if task.cancelled() else task.exception()
        finally:
            awaited.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await awaited

    async def stop(self) -> None:
        """Accept nothing new, let what runs end within the drain time, cut the rest."""
        for one in self._servers:
            one.should_exit = True
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def serving(
    application: Any, port: int, *, protocol: Callable[..., asyncio.Protocol] | None = None
) -> AsyncIterator[tuple[str, Running]]:
    """One application on loopback: its URL, and what runs. Raises Conflict, ConfigError, VaultError."""
    with contextlib.closing(bind("127.0.0.1", port)) as listener:
        url = url_of(listener)
        running = Running([(server(application, drain_seconds=1, protocol=protocol), listener)])
        try:
            await running.started()
            yield url, running
        finally:
            await running.stop()


def _drop_known_failures() -> None:
    """uvicorn logs a traceback for whatever an application raises; what breaks a body on purpose was told already."""
    log = logging.getLogger("uvicorn.error")
    if _is_news not in log.filters:
        log.addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    raised = record.exc_info[1] if record.exc_info else None
    return not isinstance(raised, VaultError | asyncio.CancelledError)


def raise_file_limit() -> None:
    """As many open files as the system lets us have: each viewer takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
