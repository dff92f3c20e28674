"""What was asked of the platform: one record a request, for tests that count."""

from collections import deque
from collections.abc import Callable

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mediavault.platform.answers import header

_KEPT = 100_000


class RequestRecord(msgspec.Struct):
    """A request, noted as it arrives; status and bytes_sent follow while it is answered."""

    method: str
    path: str
    range: str | None
    at: float  #: Unix seconds by the sandbox's clock
    status: int = 0  #: 0 until the answer begins
    bytes_sent: int = 0  #: of the body


class RequestLog:
    """The requests of the API and the media host, oldest first; the newest 100,000 are kept."""

    def __init__(self) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=_KEPT)

    def add(self, record: RequestRecord) -> None:
        self._records.append(record)

    def records(self, path: str = "") -> list[RequestRecord]:
        """Those whose path has `path` in it."""
        return [record for record in list(self._records) if path in record.path]

    def clear(self) -> None:
        self._records.clear()


def logged(application: ASGIApp, log: RequestLog, now: Callable[[], float]) -> ASGIApp:
    """The application, with each of its requests on the log."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        record = RequestRecord(scope["method"], scope["path"], header(scope, b"range"), now())
        log.add(record)

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            else:
                record.bytes_sent += len(message.get("body", b""))
            await send(message)

        await application(scope, receive, counted)

    return answer
