"""A connection of the media port: requests in, answers out, one after the other, and the time each may take.

uvicorn's server makes one for every connection it accepts (`http=`), and drains them through `shutdown`,
`server_state.connections` and `server_state.tasks`. An answer that is at hand is sent in the call that received the
request; only one that waits, for an origin or for the client, has a task.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from mediavault.domain.byte_ranges import Slice
from mediavault.errors import VaultError
from mediavault.serving.bodies import send_body, send_run
from mediavault.serving.deadline import Deadline
from mediavault.serving.media_host import Later, MediaHost
from mediavault.serving.outlet import Left, Outlet
from mediavault.serving.requests import TOO_SLOW, Request, RequestReader
from mediavault.serving.responses import Response, problem_response
from mediavault.serving.sources import FileSource
from mediavault.telemetry import Events, logger

#: Answered in one turn of the loop at most, of what one client has piped in.
_ANSWERS_A_TURN = 8
#: With more requests waiting, nothing is read of a connection.
_MOST_WAITING = 8
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True)
class Patience:
    """How long a connection may keep us waiting."""

    request_seconds: float = 30  #: for a whole request, from its first byte or from the connection's
    stalled_seconds: float = 300  #: for a client that takes nothing: a paused player comes back with a range
    parting_seconds: float = 2  #: for a refused client to see why, before what it still sends is cut off


class MediaProtocol(asyncio.Protocol):
    """One connection. The arguments are uvicorn's."""

    transport: asyncio.Transport

    def __init__(
        self, config: Any, server_state: Any, app_state: Any, _loop: Any = None, *, patience: Patience | None = None
    ) -> None:
        del app_state  # the lifespan's, and there is none
        self._host: MediaHost = config.loaded_app
        self._idle_seconds: float = config.timeout_keep_alive
        self._patience = patience or Patience()
        self._server = server_state
        self._loop: asyncio.AbstractEventLoop = _loop or asyncio.get_running_loop()
        self._reader = RequestReader()
        self._outlet: Outlet
        self._request: Request | None = None  #: whose answer is under way, or waits for the client to take it
        self._task: asyncio.Task[None] | None = None
        self._awaits_others = False  #: the answer, or its bytes, have to come from elsewhere first
        self._reading = True
        self._input_over = False  #: the client has said that it will send nothing more
        self._stopping = False  #: nothing more is answered after what is under way
        self._parting = False  #: all is said; what still comes is dropped
        self._common: object = None  #: the headers that the server gives every answer; a new list each second
        self._common_lines = ""
        self._deadline = Deadline(self._loop, self._too_late, look_seconds=self._patience.request_seconds)

    # -- what the transport calls --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accepted."""
        self.transport = transport  # type: ignore[assignment]  # a stream's; uvloop's are of no class of asyncio's
        self._outlet = Outlet(self.transport, self._loop, self._on_wait)
        self._server.connections.add(self)
        self._deadline.move(self._patience.request_seconds)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Gone, whoever ended it: what runs for it ends too."""
        self._server.connections.discard(self)
        self._stopping = True
        self._deadline.close()
        self._outlet.close()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        if self._parting:
            return
        self._reader.feed(data)
        if len(self._reader.waiting) > _MOST_WAITING and self._reading:
            self._reading = False
            self.transport.pause_reading()
        self._go_on()
        if self._reader.began_now and self._reader.begun and self._request is None:
            self._deadline.move(self._patience.request_seconds)

    def eof_received(self) -> bool:
        """The client sends nothing more: it has left, or it still reads, and nobody can tell.

        Who waits for an origin is taken to have left; what lies here is sent to the end.
        """
        self._input_over = True
        if self._awaits_others and self._task is not None:
            self._task.cancel()
            return False
        return not self._parting and self._outlet.is_plain and self._request is not None

    def pause_writing(self) -> None:
        """The transport holds bytes."""
        self._outlet.pause()

    def resume_writing(self) -> None:
        """The transport holds none any more."""
        self._outlet.resume()
        if self._request is not None and self._task is None:
            self._over(self._request)
            self._go_on()

    # -- what the server calls --

    def shutdown(self) -> None:
        """Drain: end after the answer under way, at once where there is none."""
        self._stopping = True
        if self._request is None:
            self.transport.close()

    # -- one answer after the other --

    def _go_on(self) -> None:
        """Answer what waits, as long as answers are at hand."""
        for _ in range(_ANSWERS_A_TURN):
            if self._request is not None or self._stopping or self._parting or self.transport.is_closing():
                return
            if not self._reader.waiting:
                self._await_more()
                return
            self._answer(self._reader.waiting.popleft())
        self._loop.call_soon(self._go_on)

    def _await_more(self) -> None:
        if self._input_over:
            self.transport.close()
        elif self._reader.awaits_continue:
            self._reader.awaits_continue = False
            self._outlet.send_now(_CONTINUE)
        if not self._reading:
            self._reading = True
            self.transport.resume_reading()

    def _answer(self, request: Request) -> None:
        self._request = request
        self._deadline.lift()
        if request.problem is not None:
            self._begin(request, problem_response(request.problem, request))
            return
        outcome = self._host.answer(request)
        if isinstance(outcome, Response):
            self._begin(request, outcome)
        else:
            self._awaits_others = True
            self._run(self._answer_later(request, outcome))

    async def _answer_later(self, request: Request, later: Later) -> None:
        response = await later()
        await self._send(request, response)

    def _begin(self, request: Request, response: Response) -> None:
        """Send what is at hand; a task sends the rest, if there is any."""
        body = response.body
        try:
            if body is None:
                self._send_content(request, response)
            elif isinstance(body.source, FileSource) and len(body.slices) == 1 and not body.slices[0][0]:
                self._send_file(request, response, body.source, body.slices[0][1])
            else:
                self._run(self._send(request, response))
        except Exception as error:
            self._break_off(request, error)
            return
        if self._task is None:
            self._sent(request)

    def _send_content(self, request: Request, response: Response) -> None:
        self._outlet.send_now(self._head(request, response), b"" if request.method == "HEAD" else response.content)

    def _send_file(self, request: Request, response: Response, source: FileSource, piece: Slice) -> None:
        """Send a slice of a whole file, as far as the client takes it now."""
        is_sent = True
        try:
            head = self._head(request, response)
            if not self._outlet.is_plain or not piece.length:
                self._outlet.send_now(head)
                sent = 0
            else:
                sent = self._outlet.send_head_and_file(head, source.fd, piece.start, piece.length)
            is_sent = sent == piece.length
        finally:
            if is_sent:
                source.close()
        if not is_sent:
            self._run(send_run(self._outlet, source, Slice(piece.start + sent, piece.length - sent)), source)

    async def _send(self, request: Request, response: Response) -> None:
        if response.body is None:
            self._send_content(request, response)
            return
        self._awaits_others = not isinstance(response.body.source, FileSource)
        chunked = not response.body.length_known and request.takes_chunks
        await send_body(self._outlet, self._head(request, response), response.body, chunked=chunked)

    def _head(self, request: Request, response: Response) -> bytes:
        request.keeps = request.keeps and not self._stopping
        if response.body is not None and not response.body.length_known and not request.takes_chunks:
            request.keeps = False
        common = self._server.default_headers
        if common is not self._common:
            self._common = common
            self._common_lines = "".join([f"{name.decode()}: {value.decode()}\r\n" for name, value in common])
        return response.head(request, self._common_lines, keeps=request.keeps)

    # -- tasks --

    def _run(self, work: Coroutine[Any, Any, None], source: FileSource | None = None) -> None:
        self._task = self._loop.create_task(work)
        self._server.tasks.add(self._task)
        self._task.add_done_callback(partial(self._ended, source))

    def _ended(self, source: FileSource | None, task: "asyncio.Task[None]") -> None:
        self._server.tasks.discard(task)
        self._task, self._awaits_others = None, False
        if source is not None:
            source.close()
        request = self._request
        assert request is not None  # noqa: S101 - one request at a time, and this was its task
        error: BaseException | None = Left() if task.cancelled() else task.exception()
        if error is not None:
            self._break_off(request, error)
        else:
            self._sent(request)
            self._go_on()

    def _sent(self, request: Request) -> None:
        """All is handed on; it is over once the client has taken it."""
        if self._outlet.paused:
            self._on_wait(True)
        else:
            self._over(request)

    def _break_off(self, request: Request, error: BaseException) -> None:
        """Nothing that is cut short may look whole: the connection breaks."""
        if isinstance(error, VaultError):
            logger().warning(Events.BODY_CUT, reason=str(error), request_id=request.id)
        elif not isinstance(error, Left):
            logger().error(Events.REQUEST_FAILED, request_id=request.id, exc_info=error)
        if not request.takes_chunks:
            self._outlet.reset_on_close()
        self.transport.abort()

    # -- the end of an answer, and of the connection --

    def _over(self, request: Request) -> None:
        """The client has taken the answer."""
        self._request = None
        self._server.total_requests += 1
        if request.keeps and not self._stopping:
            self._deadline.move(self._patience.request_seconds if self._reader.begun else self._idle_seconds)
        elif request.problem is not None and self._outlet.is_plain and not (self._input_over or self._stopping):
            self._parting = True  # closing on what a client still sends would cost it the answer
            self.transport.write_eof()
            self._deadline.move(self._patience.parting_seconds)
        else:
            self.transport.close()

    def _on_wait(self, waiting: bool) -> None:
        """The client is waited for, or no longer: an origin that is waited for has its own time."""
        if waiting:
            self._deadline.move(self._patience.stalled_seconds)
        else:
            self._deadline.lift()

    def _too_late(self) -> None:
        """What was waited for has not come in time."""
        if self._request is not None or self._parting:
            self.transport.abort()
        elif self._reader.begun:
            self._reader.refuse(TOO_SLOW)
            self._go_on()
        else:
            self.transport.close()
