"""Fetching media: what an origin's answer to a GET means for the vault."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from mediavault.domain.byte_ranges import parse_content_range
from mediavault.errors import OriginChanged, OriginError, OriginRefused, OriginUnavailable, RangesUnusable
from mediavault.origin.client import GuardedClient, Response

#: The origin has decided; asking again with the same URL is noise.
_REFUSALS = {
    400: "refused the request",
    401: "wants credentials",
    403: "refuses the URL (expired?)",
    404: "has no such media",
    410: "has deleted the media",
    451: "may not give the media",
}

_STRONG_TAG = re.compile(r'"[\x21\x23-\x7e]*"', re.ASCII)


@dataclass(frozen=True)
class Pin:
    """What tells that another answer of the origin is of the same bytes."""

    size_bytes: int | None
    etag: str | None  #: strong
    last_modified: str | None  #: where there is no ETag; old enough to be told from a change in the same second

    @property
    def validator(self) -> str | None:
        """What If-Range is asked with; None where the origin gives nothing that would do."""
        return self.etag or self.last_modified


@dataclass(frozen=True)
class Wanted:
    """A part of an object."""

    start: int
    stop: int | None  #: None: to the end


@dataclass(frozen=True)
class FetchedHead:
    """What an origin says of the bytes it is about to send."""

    start: int
    stop: int | None  #: None when the origin does not say
    size_bytes: int | None  #: of the whole object; None when the origin does not say
    content_type: str | None
    etag: str | None
    last_modified: str | None
    pin: Pin
    is_part: bool  #: a 206: the origin knows ranges


@asynccontextmanager
async def fetch(
    client: GuardedClient, url: str, wanted: Wanted | None = None, pin: Pin | None = None
) -> AsyncIterator[tuple[FetchedHead, Response]]:
    """GET an object, or a part of it; an origin may answer a part with the whole.

    Raises OriginChanged where the answer is not of the pinned bytes, RangesUnusable, OriginRefused, OriginUnavailable,
    AddressDenied.
    """
    async with client.get(url, _headers(wanted, pin)) as response:
        check_status(response)
        if response.headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
            raise OriginRefused("the origin sent an encoded body although identity was asked")
        if wanted is not None and response.status == 416:
            _check_unsatisfied(response.headers.get("Content-Range", ""), pin)
            raise RangesUnusable("the origin answered 416 to a Range")
        if response.status not in ({200} if wanted is None else {200, 206}):
            asked = "a plain GET" if wanted is None else "a Range"
            raise OriginUnavailable(f"the origin answered {response.status} to {asked}")
        head = _head_of(response, wanted)
        if pin is not None:
            _check_pinned(head, pin)
        yield head, response


def check_status(response: Response) -> None:
    """Raise for an answer without media in it."""
    status = response.status
    if status in _REFUSALS:
        raise OriginRefused(f"the origin {_REFUSALS[status]} ({status})", status=status)
    if status == 429 or status >= 500:
        raise OriginUnavailable(f"the origin answered {status}", retry_after=response.headers.get("Retry-After"))
    if status not in {200, 206, 304, 416}:
        raise OriginError(f"the origin answered {status}")


def _headers(wanted: Wanted | None, pin: Pin | None) -> dict[str, str]:
    if wanted is None:
        return {}
    headers = {"Range": f"bytes={wanted.start}-{'' if wanted.stop is None else wanted.stop - 1}"}
    if pin is not None and pin.validator is not None:
        headers["If-Range"] = pin.validator
    return headers


def _head_of(response: Response, wanted: Wanted | None) -> FetchedHead:
    """The facts in an answer's headers; odd ones are left out. Raises RangesUnusable for a part that was not asked.

    A strange Content-Range is not believed in half: its bytes could belong anywhere.
    """
    length = _length(response.headers.get("Content-Length"))
    start, stop, size = 0, length, length
    is_part = response.status == 206 and wanted is not None
    if is_part and wanted is not None:
        start, stop, size = _part(response.headers.get("Content-Range", ""), wanted, length)
    etag, last_modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    strong = _strong(etag)
    pin = Pin(size, strong, None if strong else _settled(last_modified, response.headers.get("Date")))
    return FetchedHead(start, stop, size, response.headers.get("Content-Type"), etag, last_modified, pin, is_part)


def _part(content_range: str, wanted: Wanted, length: int | None) -> tuple[int, int, int]:
    """Start, stop and total; shorter than asked is allowed, elsewhere than asked is not (RFC 9110 §14.4, §15.3.7)."""
    found = parse_content_range(content_range)
    start, stop, size = found or (0, 0, None)
    if size is None:
        raise RangesUnusable("the origin sent a part and does not say which")
    asked_stop = size if wanted.stop is None else min(wanted.stop, size)
    if start != wanted.start or stop > asked_stop or length not in {None, stop - start}:
        raise RangesUnusable("the origin sent another part than was asked for")
    return start, stop, size


def _check_pinned(head: FetchedHead, pin: Pin) -> None:
    """Raise OriginChanged where the answer cannot be of the same bytes."""
    if pin.size_bytes is not None and head.size_bytes not in {None, pin.size_bytes}:
        raise OriginChanged(f"the media changed at the origin: {pin.size_bytes} bytes became {head.size_bytes}")
    if pin.etag is not None and head.pin.etag not in {None, pin.etag}:
        raise OriginChanged("the media changed at the origin: it has another ETag")
    if pin.etag is None and pin.last_modified is not None and head.last_modified not in {None, pin.last_modified}:
        raise OriginChanged("the media changed at the origin: it has another Last-Modified")
    if head.is_part and head.pin.etag is None and pin.etag is not None:
        raise RangesUnusable("the origin sent a part without the ETag of the whole")


def _check_unsatisfied(content_range: str, pin: Pin | None) -> None:
    total = _length(content_range.rpartition("/")[2])
    if pin is not None and None not in {pin.size_bytes, total} and total != pin.size_bytes:
        raise OriginChanged(f"the media changed at the origin: {pin.size_bytes} bytes became {total}")


def _strong(etag: str | None) -> str | None:
    return etag if etag is not None and _STRONG_TAG.fullmatch(etag) else None


def _settled(last_modified: str | None, date: str | None) -> str | None:
    """The date where it is a strong validator: at least a minute older than the answer (RFC 9110 §8.8.2.2)."""
    modified_at, answered_at = _moment(last_modified), _moment(date)
    if modified_at is None or answered_at is None or answered_at - modified_at < 60:
        return None
    return last_modified


def _length(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 18:
        return None
    return int(text)


def _moment(text: str | None) -> int | None:
    try:
        return None if text is None else int(parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None
