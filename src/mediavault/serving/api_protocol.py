"""The API port's connections: uvicorn's protocol, with an end to what a client may send, and to how long it may take.

uvicorn waits forever for a first byte, for the rest of a head and for the rest of a body, and reads heads of any size.
What is refused here has no application: it is answered in the contract's shape, and the connection ends.
"""

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from mediavault.problems import Problem, new_request_id
from mediavault.serving.deadline import Deadline
from mediavault.serving.doors import Guarded
from mediavault.serving.joined_writes import JoinedWrites
from mediavault.serving.requests import (
    LARGEST_HEAD_BYTES,
    LARGEST_TARGET_BYTES,
    MALFORMED,
    MOST_HEADERS,
    TOO_LONG,
    TOO_MUCH_HEAD,
    TOO_SLOW,
)

#: A deadline looks again after so many seconds at most.
_LOOK_SECONDS = 60


@dataclass(frozen=True)
class ApiPatience:
    """How long a client of the API may keep us waiting, seconds."""

    head_seconds: float = 30  #: for a connection's first byte, and for a whole head
    body_seconds: float = 120  #: for a whole body, from the end of its head
    stalled_seconds: float = 300  #: for a client that takes nothing of its answer
    parting_seconds: float = 2  #: for a refused client to see why


class _Arrived(Enum):
    NOTHING = 0
    HEAD_IN_PART = 1
    BODY_IN_PART = 2
    WHOLE = 3


class _RefusedError(Exception):
    """Ends the parsing."""


class ApiProtocol(Guarded, HttpToolsProtocol):
    """One connection of the API port."""

    def __init__(self, *arguments: Any, patience: ApiPatience | None = None, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._patience = patience or ApiPatience()
        self._arrived = self._timed = _Arrived.NOTHING
        self._began_now = False
        self._head_bytes = self._chunk_bytes = 0
        self._problem: Problem | None = None
        self._parting = False  #: refused: nothing is read any more
        self._deadline = Deadline(self.loop, self._too_late, look_seconds=_LOOK_SECONDS)
        self._stall = Deadline(self.loop, self._stalled, look_seconds=_LOOK_SECONDS)

    # -- what the transport calls --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accepted."""
        super().connection_made(JoinedWrites(transport, self.loop))  # type: ignore[arg-type]  # it stands for one
        if self._name is not None:
            self._deadline.move(self._patience.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        self._deadline.close()
        self._stall.close()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        if self._parting:
            return
        self._unset_keepalive_if_required()
        self._chunk_bytes = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # there is no protocol to change to: the request is answered as it is
        except httptools.HttpParserError:
            self._refuse(self._problem or MALFORMED)
            return
        if self._arrived is not _Arrived.WHOLE:
            self._await_rest()
        elif self._timed is not _Arrived.WHOLE:
            self._timed = _Arrived.WHOLE
            self._deadline.lift()
        elif self.cycle.response_complete and self.timeout_keep_alive_task is None:
            self._await_next()

    def pause_writing(self) -> None:
        """The client takes nothing."""
        self._stall.move(self._patience.stalled_seconds)
        super().pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._stall.lift()
        super().resume_writing()

    # -- what the parser calls --

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._arrived, self._timed, self._began_now = _Arrived.HEAD_IN_PART, _Arrived.NOTHING, True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is there."""
        if len(self.url) > LARGEST_TARGET_BYTES:
            self._problem = TOO_LONG
            raise _RefusedError
        may_be_large = self._chunk_bytes > LARGEST_HEAD_BYTES or not self._began_now
        if len(self.headers) > MOST_HEADERS or (may_be_large and self._is_head_large()):
            self._problem = TOO_MUCH_HEAD
            raise _RefusedError
        self._arrived = _Arrived.BODY_IN_PART
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._arrived = _Arrived.WHOLE
        super().on_message_complete()

    # -- what is not there yet --

    def _await_rest(self) -> None:
        """Only a part of a request is there: see that the rest is neither too large nor too late."""
        if self._arrived is _Arrived.HEAD_IN_PART:
            self._head_bytes = 0 if self._began_now else self._head_bytes + self._chunk_bytes
            self._began_now = False
            if self._head_bytes > LARGEST_HEAD_BYTES:
                self._refuse(TOO_MUCH_HEAD)
                return
        if self._timed is not self._arrived:
            self._timed = self._arrived
            patience = self._patience
            is_head = self._arrived is _Arrived.HEAD_IN_PART
            self._deadline.move(patience.head_seconds if is_head else patience.body_seconds)

    def _await_next(self) -> None:
        """What came is no request: the time of an idle connection goes on from here."""
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _is_head_large(self) -> bool:
        return sum(len(name) + len(value) for name, value in self.headers) > LARGEST_HEAD_BYTES

    def _too_late(self) -> None:
        """What was waited for has not come."""
        if self._parting or self._arrived is _Arrived.NOTHING:
            self.transport.close()
        elif self._arrived is _Arrived.HEAD_IN_PART and self._is_answering():
            self._deadline.move(self._patience.head_seconds)  # the answer before it goes on first
        else:
            self._refuse(TOO_SLOW)

    def _stalled(self) -> None:
        self.transport.abort()

    # -- refusals --

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, problem: Problem) -> None:
        """Answer with a problem where no other answer is under way, and read nothing more."""
        self._parting = True
        if self.transport.is_closing():
            return
        if self._is_answering():
            if self._arrived is not _Arrived.BODY_IN_PART or self.cycle.response_started:
                self.cycle.keep_alive = False  # the answers under way go out, and then it is over
                return
            if self.pipeline:
                self.transport.abort()
                return
            self.cycle.disconnected = True  # whose body will not come
            self.cycle.message_event.set()
        self.transport.write(_written(problem, self.server_state.default_headers))
        self.transport.write_eof()
        self._deadline.move(self._patience.parting_seconds)


def _written(problem: Problem, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    request_id = new_request_id()
    content = problem.body(request_id)
    headers = [
        *default_headers,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(content)),
        (b"cache-control", b"no-store"),
        (b"x-request-id", request_id.encode()),
        (b"connection", b"close"),
    ]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return STATUS_LINE[problem.status] + lines + b"\r\n" + content
