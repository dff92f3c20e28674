"""A transport that joins what is written in one turn of the loop: a head and its body are one system call, one packet.

uvicorn writes the head of an answer when it begins, and uvloop hands each write to the kernel at once. The second call,
and waking the client twice, cost more than the answer of a small JSON document itself.
"""

import asyncio
from typing import Any

#: More than that is not held back: an application may write for long without letting the loop turn.
_MOST_HELD_BYTES = 64 * 1024


class JoinedWrites:
    """Stands for a stream's transport; whatever it does not do itself, that does."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._held_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send with what else is written in this turn."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > _MOST_HELD_BYTES:
            self._flush()

    def write_eof(self) -> None:
        """Send what is held, and then that there is no more."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send what is held, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if not self._held:
            return
        data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        if not self._transport.is_closing():
            self._transport.write(data)
