"""Running ASGI applications with uvicorn: several in one loop, on sockets bound before, stopped by one signal.

uvicorn's own signal handling is left out: with two servers it drains one after the other and then raises the signal
again, so that nothing behind it runs. Binding is ours too: its own bind errors end the process.
"""

import asyncio
import contextlib
import resource
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import uvicorn

from mediavault.errors import ConfigError

_BACKLOG = 2048


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing to capture."""
        yield


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks a free one. Raises ConfigError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY on what it accepts; without, a response can wait 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(f"{host}:{port} cannot be listened on: {error.strerror or error}") from None
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def bind_unix(path: Path) -> socket.socket:
    """A listening Unix socket that only its owner can open. Raises ConfigError."""
    path.unlink(missing_ok=True)  # a dead process's: the data folder's lock says that nobody has it
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
    except OSError as error:
        listener.close()
        raise ConfigError(f"{path} cannot be listened on: {error.strerror or error}") from None
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def url_of(listener: socket.socket) -> str:
    """`http://host:port` of a bound socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server(application: Any, *, drain_seconds: float) -> Server:
    """A server for one application."""
    config = uvicorn.Config(
        application,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, int(drain_seconds)),
    )
    config.load()
    return Server(config)


class Running:
    """Servers on their sockets, in tasks of this loop."""

    def __init__(self, served: Sequence[tuple[Server, socket.socket]]) -> None:
        self._servers = [one for one, _ in served]
        self._tasks = [asyncio.create_task(one.serve(sockets=[listener])) for one, listener in served]

    async def started(self) -> None:
        """Wait until all accept connections."""
        while not all(one.started for one in self._servers):
            for task in self._tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Accept nothing new, let what runs end within the drain time."""
        for one in self._servers:
            one.should_exit = True
        await asyncio.gather(*self._tasks)


def stop_signal() -> asyncio.Event:
    """Set at SIGTERM or SIGINT; a second SIGINT ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        if stop.is_set():
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, interrupted)
    return stop


def raise_file_limit() -> None:
    """As many open files as the system lets us have: each viewer takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
