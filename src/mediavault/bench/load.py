"""The load generator: raw sockets in one epoll loop, bodies dropped in the kernel (MSG_TRUNC) instead of copied out.

So it takes little of its own core even at gigabytes a second. wrk takes less for answers of a few bytes, but it reads
8 KiB at a time and cannot send HEAD (`wrk.py`).
"""

import select
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import cycle

from mediavault.errors import VaultError

_HEAD_BYTES = 1 << 14
_BODY_BYTES = 1 << 22
_PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Target:
    """What is asked for, and where."""

    host: str
    port: int
    path: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200  #: what the answer must have

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}{self.path}"

    @cached_property
    def request(self) -> bytes:
        """As it goes over the wire."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {self.host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


@dataclass
class Outcome:
    """What came back; of each finished answer how long its first body byte and its last took."""

    seconds: float = 0.0
    body_bytes: int = 0
    first_byte_seconds: list[float] = field(default_factory=list)
    done_seconds: list[float] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return len(self.done_seconds)


def for_a_time(targets: Sequence[Target], connections: int, seconds: float) -> Outcome:
    """The same requests over and over on kept connections, until the time is over."""
    return _Load([targets[0]] * connections, cycle(targets), seconds).run()


def once_each(targets: Sequence[Target], connections: int) -> Outcome:
    """Each request once, by the first connection that is free."""
    return _Load([targets[0]] * min(connections, len(targets)), iter(targets), None).run()


class _Connection:
    """A connection with at most one request under way."""

    def __init__(self, address: Target, outcome: Outcome, buffer: memoryview) -> None:
        self.socket = socket.create_connection((address.host, address.port), timeout=_PATIENCE_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._outcome = outcome
        self._buffer = buffer
        self._target = address
        self._head = b""
        self._in_body = False
        self._left = 0  #: bytes of the body that are still to come
        self._asked_at = self._first_at = 0.0

    def ask(self, target: Target) -> None:
        """Send a request."""
        request = target.request
        self._target, self._head, self._in_body, self._first_at = target, b"", False, 0.0
        self._asked_at = time.perf_counter()
        if self.socket.send(request) != len(request):
            raise VaultError("a request did not fit into an empty socket")

    def read(self) -> bool:
        """Take what has arrived; whether the answer is complete. Raises VaultError for one that is not as expected."""
        if not self._in_body:
            return self._read_head()
        received = self.socket.recv_into(self._buffer, min(self._left, _BODY_BYTES), socket.MSG_TRUNC)
        return self._body(received)

    def _read_head(self) -> bool:
        received = self.socket.recv(_HEAD_BYTES)
        if not received:
            raise VaultError(f"{self._target.url[:80]}: the connection was closed")
        self._head += received
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return False
        self._left, self._in_body = body_length(self._head[: end + 2], self._target), True
        arrived = len(self._head) - end - 4
        return self._body(arrived) if arrived or not self._left else False

    def _body(self, received: int) -> bool:
        if received == 0 and self._left > 0:
            raise VaultError(f"{self._target.url[:80]}: the answer broke off, {self._left} bytes are missing")
        if not self._first_at:
            self._first_at = time.perf_counter()
        self._left -= received
        self._outcome.body_bytes += received
        if self._left < 0:
            raise VaultError(f"{self._target.url[:80]}: {-self._left} bytes more than announced")
        if self._left == 0:
            self._outcome.first_byte_seconds.append(self._first_at - self._asked_at)
            self._outcome.done_seconds.append(time.perf_counter() - self._asked_at)
        return self._left == 0


def body_length(head: bytes, target: Target) -> int:
    """How many bytes follow a head. Raises VaultError for another status than the expected, or an unknown length."""
    if int(head[9:12]) != target.status:
        raise VaultError(f"{target.url[:80]} answered {head[9:12].decode()} instead of {target.status}")
    if target.method == "HEAD" or target.status == 304:
        return 0
    lowered = head.lower()
    at = lowered.find(b"\r\ncontent-length:")
    if at < 0:
        raise VaultError(f"{target.url[:80]} does not say how long its answer is")
    return int(lowered[at + 17 : lowered.find(b"\r\n", at + 17)])


class _Load:
    """Connections, and what is asked over them."""

    def __init__(self, addresses: list[Target], targets: Iterator[Target], seconds: float | None) -> None:
        self._addresses = addresses
        self._targets = targets
        self._seconds = seconds
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Connect all, then start the clock."""
        buffer = memoryview(bytearray(_BODY_BYTES))
        connections: dict[int, _Connection] = {}
        try:
            for address in self._addresses:
                connection = _Connection(address, self.outcome, buffer)
                connections[connection.socket.fileno()] = connection
            began = time.perf_counter()
            self._drive(connections, began)
            self.outcome.seconds = time.perf_counter() - began
        finally:
            for connection in connections.values():
                connection.socket.close()
        return self.outcome

    def _drive(self, connections: dict[int, _Connection], began: float) -> None:
        stop = began + (self._seconds if self._seconds is not None else _PATIENCE_SECONDS)
        with select.epoll(len(connections)) as poll:
            for number, connection in connections.items():
                poll.register(number, select.EPOLLIN)
                connection.ask(next(self._targets))
            busy = len(connections)
            while busy and (left := stop - time.perf_counter()) > 0:
                for number, _ in poll.poll(left):
                    if connections[number].read():
                        busy -= self._ask_next(connections[number])
        if busy and self._seconds is None:
            raise VaultError(f"{busy} answers are not complete after {_PATIENCE_SECONDS} s")

    def _ask_next(self, connection: _Connection) -> bool:
        """Whether there was nothing left to ask."""
        following = next(self._targets, None)
        if following is not None:
            connection.ask(following)
        return following is None
