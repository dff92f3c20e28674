"""Responses as they are decided, and the heads they are sent with: the headers that every answer of this host has."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus

from mediavault.domain import media_type
from mediavault.domain.byte_ranges import Slice
from mediavault.domain.responding import Answer
from mediavault.problems import Problem
from mediavault.serving.requests import Request
from mediavault.serving.sources import FileSource, Local, Source, StoredBlob, Streamed

#: Read at once and sent with the head in one call: cheaper than sendfile up to here.
SMALL_BYTES = 64 * 1024
#: The end of a slice whose end nobody knows.
UNKNOWN_END = 1 << 62
_LONGEST_CACHING_SECONDS = 86_400

#: What the conditions and ranges of a request can be refused with.
_REFUSED = {
    412: ("PRECONDITION_FAILED", "The media is not the version that was asked for"),
    416: ("RANGE_NOT_SATISFIABLE", "The range holds no byte of the media"),
}

#: Nothing runs, and nothing is loaded but the media itself and the browser's own look: a browser that opens a media
#: URL as a page makes a document of its own around it, and this policy is that document's.
CONTENT_POLICY = "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"

#: What every answer has, errors too.
_ALWAYS = (
    "x-content-type-options: nosniff\r\n"
    f"content-security-policy: {CONTENT_POLICY}\r\n"
    "cross-origin-resource-policy: cross-origin\r\n"
    "access-control-allow-origin: *\r\n"
    "access-control-expose-headers: Accept-Ranges, Content-Length, Content-Range, ETag, Repr-Digest, X-Request-Id\r\n"
    "timing-allow-origin: *\r\n"
)
_OPENINGS = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n{_ALWAYS}x-request-id: " for status in HTTPStatus
}

Headers = Sequence[tuple[str, str]]


@dataclass(slots=True)
class Body:
    """The bytes of a source that an answer consists of."""

    source: Local | Streamed
    slices: tuple[tuple[bytes, Slice], ...]  #: each with what goes before it
    closing: bytes = b""  #: what goes after the last
    length_known: bool = True


@dataclass(slots=True)
class Response:
    """An answer, ready to be sent. Raises ValueError for a header that would be two."""

    status: int
    headers: Headers = ()
    content: bytes = b""  #: the whole body, where there is no other
    body: Body | None = None
    _lines: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        lines = "".join([f"{name}: {value}\r\n" for name, value in self.headers])
        if not lines.count("\n") == lines.count("\r") == len(self.headers):
            raise ValueError("a header holds a line break")
        self._lines = lines

    def head(self, request: Request, date: str, *, keeps: bool) -> bytes:
        """Status line and headers."""
        framing = ""
        if self.body is not None and not self.body.length_known and request.takes_chunks:
            framing = "transfer-encoding: chunked\r\n"
        if not keeps:
            framing += "connection: close\r\n"
        return f"{_OPENINGS[self.status]}{request.id}\r\n{date}{self._lines}{framing}\r\n".encode("latin-1")


def media_response(source: Source, answer: Answer, *, seconds_left: int, request: Request) -> Response:
    """What was decided, as it is sent. The source is closed where nothing more of it is. Raises BlobError."""
    if answer.status in _REFUSED:
        source.close()
        kind, text = _REFUSED[answer.status]
        return problem_response(Problem(answer.status, kind, text, dict(answer.headers)), request)
    caching = f"private, max-age={max(0, min(_LONGEST_CACHING_SECONDS, seconds_left))}"
    headers = [*answer.headers, ("cache-control", caching)]
    if answer.status != 304:
        headers.append(("content-disposition", disposition(source.representation.content_type)))
    if answer.streams_to_end and not isinstance(source, StoredBlob):  # the size of a blob is known
        return Response(answer.status, headers, body=Body(source, ((b"", Slice(0, UNKNOWN_END)),), length_known=False))
    if answer.head_only or not answer.slices:
        source.close()
        return Response(answer.status, headers)
    opened = source.open() if isinstance(source, StoredBlob) else source
    if isinstance(opened, FileSource) and answer.boundary is None and answer.slices[0].length <= SMALL_BYTES:
        return Response(answer.status, headers, opened.read_and_close(answer.slices[0]))
    return Response(answer.status, headers, body=Body(opened, tuple(answer.parts()), answer.closing))


def problem_response(problem: Problem, request: Request) -> Response:
    """An error of the contract's shape; never cached."""
    return json_response(problem.status, problem.body(request.id), tuple(problem.headers.items()))


def json_response(status: int, content: bytes, headers: Headers = ()) -> Response:
    """A small JSON answer."""
    described = (
        ("content-type", "application/json"),
        ("content-length", str(len(content))),
        ("cache-control", "no-store"),
        *headers,
    )
    return Response(status, described, content)


@lru_cache(256)
def disposition(content_type: str) -> str:
    """Only media that no browser runs as a document is shown in place.

    Without a name a browser would save it under the URL's last part: the token, which opens the media to who reads it.
    """
    kind = "inline" if media_type.canonical(content_type) in media_type.INLINE_SAFE else "attachment"
    return f'{kind}; filename="media.{media_type.extension(content_type)}"'
