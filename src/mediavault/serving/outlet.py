"""The sending side of a connection: bytes, and runs of files by `os.sendfile`, with back-pressure.

A plain connection is written to on a descriptor of its own, a duplicate of the transport's: uvloop lets nobody watch a
transport's own, and the kernel may give its number to another file as soon as the transport has closed it. The
transport is told nothing of what goes out there, so it is done only while the transport's own buffer is empty. Under
TLS the transport must see the bytes: a bounded chunk at a time is read and handed to it.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from mediavault.errors import BlobCorrupt

#: Sent in one turn of the loop at most: some 0.2 ms of kernel time, so that every connection gets its turn. Half of it
#: costs a long file a twentieth more for each of its bytes.
TURN_BYTES = 2 << 20
#: Read and handed on at a time where sendfile cannot be used.
CHUNK_BYTES = 256 * 1024

_MORE = getattr(socket, "MSG_MORE", 0)


class Left(ConnectionError):
    """The viewer is gone."""


class Outlet:
    """Sends to one connection. `on_wait` is told when a wait for the client begins, and when it has ended."""

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, on_wait: Callable[[bool], None]
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._on_wait = on_wait
        self._waiter: asyncio.Future[None] | None = None
        self.paused = False  #: the transport holds bytes that the client has not taken
        self._socket: socket.socket | None = None
        if transport.get_extra_info("ssl_object") is None:
            transport.set_write_buffer_limits(high=0)
            try:
                self._socket = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
                self._socket.setblocking(False)
            except OSError:  # no descriptor left for it, or it is gone already
                transport.abort()

    @property
    def is_plain(self) -> bool:
        """Whether files go out without a copy."""
        return self._socket is not None

    def close(self) -> None:
        """The connection is gone: nothing is sent any more, and whoever waits is told."""
        if self._socket is not None:
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
        self._wake(Left())

    def reset_on_close(self) -> None:
        """Let the client see a reset, where the end of the connection would look like the end of the body."""
        if self._socket is not None and self._socket.fileno() >= 0:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def pause(self) -> None:
        """The transport has begun to hold bytes."""
        self.paused = True

    def resume(self) -> None:
        """The transport's buffer is empty again."""
        self.paused = False
        self._wake(None)

    def send_now(self, data: bytes, more: bytes = b"") -> None:
        """Send; what the client does not take at once waits in the transport. Raises Left."""
        if self._transport.is_closing():
            raise Left
        if self._socket is not None and not self.paused:
            sent = self._send(self._socket, (data, more) if more else (data,))
            if sent == len(data) + len(more):
                return
            data, more = (data + more)[sent:], b""
        self._transport.write(data + more)

    def send_head_and_file(self, head: bytes, fd: int, start: int, length: int) -> int:
        """Send a head and then as much of a file as the client takes at once; how many bytes. Raises Left, BlobCorrupt.

        Only on a plain connection that is not paused.
        """
        if self._transport.is_closing() or self._socket is None:
            raise Left
        sent = self._send(self._socket, (head,), _MORE)
        if sent < len(head):
            self._transport.write(head[sent:])
            return 0
        return self._some_of_file(self._socket, fd, start, min(length, TURN_BYTES))

    async def send(self, data: bytes) -> None:
        """Send, and wait until the client has taken it. Raises Left."""
        self.send_now(data)
        await self.drained()

    async def send_file(self, fd: int, start: int, length: int) -> None:
        """Send a run of a file. Raises Left, BlobCorrupt where the file ends before it."""
        await self.drained()
        stop = start + length
        if self._socket is not None:
            await self._push(self._socket, _Run(fd, start, stop))
            return
        while start < stop:
            chunk = _read(fd, start, min(CHUNK_BYTES, stop - start))
            await self.send(chunk)
            start += len(chunk)

    async def drained(self) -> None:
        """Wait until the transport holds nothing. Raises Left."""
        while self.paused:
            await self._wait()

    def _send(self, sock: socket.socket, buffers: tuple[bytes, ...], flags: int = 0) -> int:
        try:
            return sock.sendmsg(buffers, (), flags)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise Left from error

    def _some_of_file(self, sock: socket.socket, fd: int, start: int, length: int) -> int:
        """As much as the socket takes now; 0 when it takes nothing."""
        try:
            sent = os.sendfile(sock.fileno(), fd, start, length)
        except (BlockingIOError, InterruptedError):
            return 0
        except ConnectionError as error:
            raise Left from error
        except OSError as error:
            raise BlobCorrupt(f"a file cannot be read: {error.strerror}") from error
        if sent == 0:
            raise BlobCorrupt("a file ends before its size")
        return sent

    async def _push(self, sock: socket.socket, run: "_Run") -> None:
        """Send a run, a turn of it whenever the socket takes some. Nobody is woken before its end."""
        if self._transport.is_closing():
            raise Left
        self._turn(sock, run)
        if run.start == run.stop:
            return
        self._loop.add_writer(sock.fileno(), self._next_turn, sock, run)
        try:
            while run.start < run.stop:
                await self._wait()
        finally:
            if sock.fileno() >= 0:
                self._loop.remove_writer(sock.fileno())

    def _next_turn(self, sock: socket.socket, run: "_Run") -> None:
        if self._waiter is None or self._waiter.done():
            return
        try:
            sent = self._turn(sock, run)
        except Exception as error:  # whoever waits is told, whatever it is
            self._wake(error)
            return
        if run.start == run.stop:
            self._wake(None)
        elif sent:
            self._on_wait(True)  # the client took some: its time begins anew

    def _turn(self, sock: socket.socket, run: "_Run") -> int:
        sent = self._some_of_file(sock, run.fd, run.start, min(TURN_BYTES, run.stop - run.start))
        run.start += sent
        return sent

    async def _wait(self) -> None:
        if self._transport.is_closing():
            raise Left
        self._waiter = self._loop.create_future()
        self._on_wait(True)
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._on_wait(False)

    def _wake(self, error: Exception | None) -> None:
        if self._waiter is not None and not self._waiter.done():
            if error is None:
                self._waiter.set_result(None)
            else:
                self._waiter.set_exception(error)


@dataclass(slots=True)
class _Run:
    """What is still to be sent of a file."""

    fd: int
    start: int
    stop: int


def _read(fd: int, start: int, length: int) -> bytes:
    chunk = os.pread(fd, length, start)
    if not chunk:
        raise BlobCorrupt("a file ends before its size")
    return chunk
