"""The HTTP answer to a request for media: status, headers and the bytes to send. RFC 9110 §13–15, RFC 9530.

Pure, and the same for every source of bytes: what differs between stored, filling and cold is only how a slice is
read. Cache-Control, CORS and security headers are not decided here.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from mediavault.domain import byte_ranges, conditions
from mediavault.domain.byte_ranges import Partial, Slice, Unsatisfiable

ALLOWED_METHODS = ("GET", "HEAD", "POST", "OPTIONS")

Headers = tuple[tuple[str, str], ...]

#: Versions whose headers need not be written anew.
_REMEMBERED = 4096

#: The request headers that bear on the answer.
RELEVANT = frozenset(
    {b"range", b"if-range", b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"}
)


@dataclass(frozen=True, slots=True)
class Representation:
    """One version of a variant's bytes, as far as it is known."""

    etag: str  #: strong, with its quotes
    size: int | None  #: bytes; None while the origin has not told
    content_type: str
    last_modified_at: int | None = None  #: Unix seconds
    sha256: bytes | None = None  #: of all the bytes, once they have all been seen

    def __post_init__(self) -> None:
        if not conditions.is_strong_tag(self.etag):
            raise ValueError(f"not a strong entity-tag: {self.etag!r}")
        if not (self.content_type.isascii() and self.content_type.isprintable()):
            raise ValueError(f"not a content type: {self.content_type!r}")
        if self.size is not None and self.size < 0:
            raise ValueError(f"a size cannot be {self.size}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What to send. An error has no Content-Length: whoever writes its body frames it."""

    status: int
    headers: Headers
    slices: tuple[Slice, ...] = ()  #: what to read, in this order; empty where nothing, or `streams_to_end`
    boundary: str | None = None  #: of a multipart/byteranges body, else None
    head_only: bool = False  #: the request was a HEAD: send no body, whatever the headers say
    part_heads: tuple[bytes, ...] = ()  #: what goes before each slice of a multipart body

    @property
    def streams_to_end(self) -> bool:
        """Whether the body is everything the source yields, of a size nobody knows yet."""
        return self.status == 200 and not self.slices and not self.head_only

    def parts(self) -> Iterator[tuple[bytes, Slice]]:
        """Each slice with the bytes to send before it; `closing` comes after the last."""
        heads = self.part_heads or (b"",) * len(self.slices)
        return zip(heads, self.slices, strict=True)

    @property
    def closing(self) -> bytes:
        """What ends a multipart body; nothing for any other."""
        return _closing(self.boundary) if self.boundary else b""


def decide(method: str, headers: Iterable[tuple[bytes, bytes]], representation: Representation) -> Answer:
    """Answer a GET or HEAD of `representation`; any method the media host does not know gets 405.

    `headers` are the raw ASGI lines. POST and OPTIONS belong to other verbs: asking here is a ValueError.
    """
    if method not in ALLOWED_METHODS:
        return Answer(405, (("allow", ", ".join(ALLOWED_METHODS)),))
    if method not in ("GET", "HEAD"):
        raise ValueError(f"{method} does not ask for bytes: it is answered elsewhere")

    lines = _relevant_lines(headers)
    fields = {name: ", ".join(values) for name, values in lines.items()}
    head_only = method == "HEAD"
    etag, last_modified_at = representation.etag, representation.last_modified_at

    match conditions.evaluate(method, fields, etag, last_modified_at):
        case conditions.Outcome.PRECONDITION_FAILED:
            return Answer(412, (), head_only=head_only)
        case conditions.Outcome.NOT_MODIFIED:
            return Answer(304, _validators(representation), head_only=head_only)

    if head_only or not conditions.range_applies(fields.get("if-range"), etag, last_modified_at):
        return _whole(representation, head_only=head_only)
    return _ranged(lines.get("range", []), representation)


def _relevant_lines(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, list[str]]:
    lines: dict[str, list[str]] = {}
    for raw_name, value in headers:
        if (name := raw_name.lower()) in RELEVANT:
            lines.setdefault(name.decode("ascii"), []).append(value.decode("latin-1").strip(" \t"))
    return lines


def _ranged(range_lines: list[str], representation: Representation) -> Answer:
    """200, 206 or 416. Two Range lines are no list, so neither is believed."""
    size = representation.size
    header = range_lines[0] if len(range_lines) == 1 else None
    outcome = byte_ranges.parse(header, size)
    match outcome:
        case Partial(slices=(only,)) if size is not None:
            return _single(only, size, representation)
        case Partial(slices=slices) if size is not None:
            return _multipart(slices, size, representation)
        case Unsatisfiable():
            return Answer(416, (("accept-ranges", "bytes"), ("content-range", f"bytes */{size}")))
    return _whole(representation, head_only=False)


def _whole(representation: Representation, *, head_only: bool) -> Answer:
    headers = (*_described(representation), ("content-type", representation.content_type))
    if representation.size is None:
        return Answer(200, headers, head_only=head_only)
    headers = (*headers, ("content-length", str(representation.size)))
    return Answer(200, headers, () if head_only else (Slice(0, representation.size),), head_only=head_only)


def _single(piece: Slice, size: int, representation: Representation) -> Answer:
    headers = (
        *_described(representation),
        ("content-type", representation.content_type),
        ("content-range", piece.content_range(size)),
        ("content-length", str(piece.length)),
    )
    return Answer(206, headers, (piece,))


def _multipart(slices: tuple[Slice, ...], size: int, representation: Representation) -> Answer:
    """Several slices in one body. RFC 9110 §14.6: each part says its own range, the whole says none."""
    ranges = [piece.content_range(size) for piece in slices]
    boundary = _boundary(representation.etag, ranges)
    heads = tuple(
        _part_head(boundary, representation.content_type, text, opening=place == 0) for place, text in enumerate(ranges)
    )
    length = sum(map(len, heads)) + sum(piece.length for piece in slices) + len(_closing(boundary))
    headers = (
        *_described(representation),
        ("content-type", f"multipart/byteranges; boundary={boundary}"),
        ("content-length", str(length)),
    )
    return Answer(206, headers, slices, boundary, part_heads=heads)


def _part_head(boundary: str, content_type: str, content_range: str, *, opening: bool) -> bytes:
    lines = ["" if opening else "\r\n", f"--{boundary}\r\n", f"Content-Type: {content_type}\r\n"]
    return "".join([*lines, f"Content-Range: {content_range}\r\n\r\n"]).encode("ascii")


def _closing(boundary: str) -> bytes:
    return f"\r\n--{boundary}--\r\n".encode("ascii")


def _boundary(etag: str, ranges: list[str]) -> str:
    """A text that the bytes cannot hold but by a 128-bit accident: nobody knows the version's tag when making them."""
    return hashlib.sha256("\n".join([etag, *ranges]).encode("latin-1")).hexdigest()[:32]


@lru_cache(_REMEMBERED)
def _validators(representation: Representation) -> Headers:
    """What tells this version from another; all that a 304 carries (RFC 9110 §15.4.5)."""
    if representation.last_modified_at is None:
        return (("etag", representation.etag),)
    return ("etag", representation.etag), ("last-modified", conditions.format_date(representation.last_modified_at))


@lru_cache(_REMEMBERED)
def _described(representation: Representation) -> Headers:
    """What every 200 and 206 of this version says alike; the digest is of the whole, also on a slice (RFC 9530 §3)."""
    headers = (*_validators(representation), ("accept-ranges", "bytes"))
    if representation.sha256 is None:
        return headers
    digest = b64encode(representation.sha256).decode("ascii")
    return (*headers, ("repr-digest", f"sha-256=:{digest}:"))
