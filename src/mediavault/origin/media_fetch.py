"""Fetching media: what an origin's answer to a GET means for the vault."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from mediavault.errors import OriginError, OriginRefused, OriginUnavailable
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


@dataclass(frozen=True)
class FetchedHead:
    """What an origin says of a whole body it is about to send."""

    length: int | None  #: bytes; None when the origin does not say
    content_type: str | None
    etag: str | None
    last_modified_at: int | None  #: Unix seconds


@asynccontextmanager
async def fetch(client: GuardedClient, url: str) -> AsyncIterator[tuple[FetchedHead, Response]]:
    """GET a whole object. Raises OriginRefused, OriginUnavailable, AddressDenied."""
    async with client.get(url) as response:
        check_status(response)
        if response.status != 200:
            raise OriginUnavailable(f"the origin answered {response.status} to a plain GET")
        if response.headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
            raise OriginRefused("the origin sent an encoded body although identity was asked")
        yield head_of(response), response


def check_status(response: Response) -> None:
    """Raise for an answer without media in it."""
    status = response.status
    if status in _REFUSALS:
        raise OriginRefused(f"the origin {_REFUSALS[status]} ({status})")
    if status == 429 or status >= 500:
        raise OriginUnavailable(f"the origin answered {status}")
    if status not in {200, 206, 304, 416}:
        raise OriginError(f"the origin answered {status}")


def head_of(response: Response) -> FetchedHead:
    """The facts in an answer's headers; odd ones are left out."""
    return FetchedHead(
        length=_length(response.headers.get("Content-Length")),
        content_type=response.headers.get("Content-Type"),
        etag=response.headers.get("ETag"),
        last_modified_at=_moment(response.headers.get("Last-Modified")),
    )


def _length(text: str | None) -> int | None:
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > 18:
        return None
    return int(text)


def _moment(text: str | None) -> int | None:
    try:
        return None if text is None else int(parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None
