"""Requests as they arrive on a connection: parsed by llhttp, bounded, and refused where they are malformed.

A connection of which one request was refused is not read any further: nobody can say where the next one would begin.
"""

from collections import deque
from dataclasses import dataclass
from urllib.parse import unquote

import httptools

from mediavault.domain.responding import RELEVANT
from mediavault.problems import Problem, new_request_id

#: The longest token is 8,192 characters, and a client may escape each.
LARGEST_TARGET_BYTES = 32 * 1024
LARGEST_HEAD_BYTES = 64 * 1024
MOST_HEADERS = 100
#: No request to the media host needs a body; what a client sends all the same is read and dropped up to here.
LARGEST_BODY_BYTES = 64 * 1024

MALFORMED = Problem(400, "BAD_REQUEST", "The request is not well-formed HTTP/1.1")
_NO_HOST = Problem(400, "BAD_REQUEST", "A request needs one Host header")
_BAD_TARGET = Problem(400, "BAD_REQUEST", "The request target is not a path of this host")
TOO_LONG = Problem(414, "URI_TOO_LONG", "The URL is too long")
TOO_MUCH_HEAD = Problem(431, "HEADERS_TOO_LARGE", "The request's headers are too large or too many")
_TOO_MUCH_BODY = Problem(413, "BODY_TOO_LARGE", "The media host takes no bodies")
_UNKNOWN_CODING = Problem(501, "NOT_IMPLEMENTED", "The only transfer coding known here is chunked")
_UNKNOWN_VERSION = Problem(505, "HTTP_VERSION_NOT_SUPPORTED", "The media host speaks HTTP/1.1")
_UNKNOWN_EXPECTATION = Problem(417, "EXPECTATION_FAILED", "The only expectation known here is 100-continue")
#: Of a head, what is looked at: the framing of the request here, the rest by whoever answers it.
_FRAMING = frozenset({b"host", b"transfer-encoding", b"content-length", b"expect"})
TOO_SLOW = Problem(408, "REQUEST_TIMEOUT", "The request did not arrive in time")


@dataclass(slots=True)
class Request:
    """One request, or the reason why what arrived is none."""

    id: str
    method: str = "GET"
    path: str = ""  #: percent-decoded, without the query
    headers: tuple[tuple[bytes, bytes], ...] = ()  #: those that bear on the answer, names in lower case
    keeps: bool = False  #: whether the connection may be kept after the answer
    takes_chunks: bool = False  #: HTTP/1.1: a body of unknown length can be framed
    problem: Problem | None = None


def refused(problem: Problem, method: str = "GET") -> Request:
    """A request that is answered with nothing but its problem."""
    return Request(new_request_id(), method, problem=problem)


class RequestReader:
    """Turns what a connection receives into requests. A body is dropped: a request is complete behind it."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        # What follows a request that closes the connection is ignored, not an error that would lose that request.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.waiting: deque[Request] = deque()
        self.begun = False  #: a request has begun to arrive
        self.ended = False  #: nothing more is read of this connection
        self.awaits_continue = False  #: the client sends its body once it is told to
        self.began_now = False  #: that was in what arrived last
        self._in_head = False
        self._head_bytes = self._head_lines = self._unfinished_bytes = self._body_bytes = 0
        self._target = b""
        self._framing: list[tuple[bytes, bytes]] = []
        self._headers: list[tuple[bytes, bytes]] = []

    def feed(self, data: bytes) -> None:
        """Take what arrived; complete requests are in `waiting` afterwards."""
        if self.ended:
            return
        self.began_now = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # no protocol to change to: it is answered as it is, and then all is said
            if not self.ended and self.waiting:
                self.waiting[-1].keeps = False
            self.ended = True
        except httptools.HttpParserError:
            self.refuse(MALFORMED)
        if self._in_head and not self.began_now:
            self._unfinished_bytes += len(data)
            if self._unfinished_bytes > LARGEST_HEAD_BYTES:
                self.refuse(TOO_MUCH_HEAD)

    def refuse(self, problem: Problem, method: str = "GET") -> None:
        """Answer what is arriving with a problem, and read nothing more."""
        if not self.ended:
            self.waiting.append(refused(problem, method))
        self.begun = self.awaits_continue = self._in_head = False
        self.ended = True

    # -- what the parser calls --

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self.begun = self._in_head = self.began_now = True
        self._head_bytes = self._head_lines = self._unfinished_bytes = self._body_bytes = 0
        self._target = b""
        self._framing = []
        self._headers = []

    def on_url(self, part: bytes) -> None:
        """A part of the request target."""
        self._target += part
        if len(self._target) > LARGEST_TARGET_BYTES:
            self.refuse(TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header line; those of a trailer are dropped."""
        if self.ended or not self._in_head:
            return
        lowered = name.lower()
        if lowered in RELEVANT:
            self._headers.append((lowered, value))
        elif lowered in _FRAMING:
            self._framing.append((lowered, value))
        self._head_lines += 1
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > LARGEST_HEAD_BYTES or self._head_lines > MOST_HEADERS:
            self.refuse(TOO_MUCH_HEAD)

    def on_headers_complete(self) -> None:
        """The head is there: what can be refused by it is."""
        if self.ended:
            return
        self._in_head = False
        problem = _head_problem(self._framing, self._parser.get_http_version())
        if problem is not None:
            self.refuse(problem, self._parser.get_method().decode("ascii"))
            return
        self.awaits_continue = len(self._framing) > 1 and any(name == b"expect" for name, _ in self._framing)

    def on_body(self, body: bytes) -> None:
        """Bytes that nobody needs."""
        self.awaits_continue = False
        self._body_bytes += len(body)
        if self._body_bytes > LARGEST_BODY_BYTES:
            self.refuse(_TOO_MUCH_BODY)

    def on_message_complete(self) -> None:
        """A request is whole."""
        if self.ended:
            return
        self.begun = self.awaits_continue = False
        method = self._parser.get_method().decode("ascii")
        path = "" if method == "CONNECT" else _path_of(self._target)
        if path is None:
            self.refuse(_BAD_TARGET, method)
            return
        takes_chunks = self._parser.get_http_version() == "1.1"
        keeps = takes_chunks and self._parser.should_keep_alive()
        self.waiting.append(Request(new_request_id(), method, path, tuple(self._headers), keeps, takes_chunks))
        self.ended = not keeps


def _head_problem(framing: list[tuple[bytes, bytes]], version: str) -> Problem | None:
    """What is wrong with a head that llhttp has taken. RFC 9112 §3.2, §6; RFC 9110 §10.1.1."""
    if version not in {"1.0", "1.1"}:
        return _UNKNOWN_VERSION
    hosts = 0
    for name, value in framing:
        if name == b"host":
            hosts += 1
        elif name == b"transfer-encoding":
            if version == "1.0":
                return MALFORMED
            if value.lower() != b"chunked":
                return _UNKNOWN_CODING
        elif name == b"content-length" and int(value) > LARGEST_BODY_BYTES:
            return _TOO_MUCH_BODY
        elif name == b"expect" and (value.lower() != b"100-continue" or version == "1.0"):
            return _UNKNOWN_EXPECTATION
    return _NO_HOST if hosts > 1 or (hosts == 0 and version == "1.1") else None


def _path_of(target: bytes) -> str | None:
    """The decoded path of a target in origin-form or absolute-form, or `*`. RFC 9112 §3.2; None where it is neither."""
    if not target.isascii():
        return None
    text = target.decode("ascii")
    if text[:1] != "/":
        if text == "*":
            return text
        scheme, separator, rest = text.partition("://")
        if not separator or scheme.lower() not in {"http", "https"} or rest[:1] in {"", "/", "?"}:
            return None
        authority, _, rest = rest.partition("/")
        text = "/" if "?" in authority else f"/{rest}"
    path = text.partition("?")[0].partition("#")[0]
    return unquote(path) if "%" in path else path
