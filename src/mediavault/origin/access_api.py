"""The upstream: any server that speaks the Access API (contract.md, "Access")."""

import asyncio
import re
import zlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from multidict import CIMultiDict

from mediavault.errors import (
    AddressDenied,
    NotFound,
    OriginError,
    OriginUnavailable,
    SessionExpired,
    SessionNotProvided,
    TooManyRequests,
    UpstreamError,
    UpstreamUnavailable,
)
from mediavault.origin import rewriting
from mediavault.origin.client import GuardedClient, Response
from mediavault.origin.pacing import Pacing

LARGEST_ANSWER = 32 * 1024 * 1024  #: bytes


#: How many entries are asked for at once.
PAGE_ENTRIES = 100
#: Pages in a row that bring nothing new before an upstream is taken to go in circles. Not one: a list that grows at
#: its front while it is read shows the same entries once more.
_MOST_REPEATS = 2
_SECONDS = re.compile(r"[0-9]{1,6}", re.ASCII)
_INLINE_BYTES = 4 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WITHOUT_CONTENT = frozenset({204, 205})
_LONGEST_NAME = 500
_LONGEST_URL = 4_000
#: Also the ones that turn the direction of what follows; joiners of emoji and scripts stay.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Session(msgspec.Struct, frozen=True):
    """What a connection shows its upstream. Secret: sealed at rest, never logged."""

    cookie: str
    user_agent: str
    headers: dict[str, str] = {}  #: the upstream's own, such as a hosted API's key


@dataclass(frozen=True)
class Upstream:
    """A connection's upstream."""

    connection_id: str
    base_url: str  #: without a final slash
    session: Session


@dataclass(frozen=True)
class Answer:
    """An upstream's answer, whole."""

    status: int
    content_type: str
    body: bytes
    retry_after: str | None

    @property
    def is_json(self) -> bool:
        """Whether the body says it is JSON."""
        media_type = self.content_type.partition(";")[0].strip().lower()
        return media_type == "application/json" or media_type.endswith("+json")


@dataclass(frozen=True)
class Page:
    """A part of a paged answer, `{list, hasMore}`."""

    target: str  #: path and query that gave it
    entries: list[Any]
    has_more: bool


class UpstreamUser(msgspec.Struct, frozen=True):
    """The answer of `GET /v2/access/self`."""

    id: int | str
    username: str | None = None
    name: str | None = None
    avatar: str | None = None
    isAuth: bool = True


class AccessApi:
    """Calls upstreams, paced by connection."""

    def __init__(self, client: GuardedClient, pacing: Pacing, longest_call_seconds: float = 90) -> None:
        self._client = client
        self._pacing = pacing
        #: An upstream that drips its answer must not hold one of the connection's seats for ever.
        self._longest_call_seconds = longest_call_seconds

    async def self_(self, upstream: Upstream) -> UpstreamUser:
        """Who the session belongs to.

        Raises SessionExpired, SessionNotProvided, TooManyRequests, UpstreamError, AddressDenied.
        """
        answer = await self.call(upstream, "GET", "/v2/access/self")
        if answer.status == 403:
            raise SessionExpired
        if answer.status == 429:
            raise TooManyRequests("the upstream limits this account", retry_after=60)
        if answer.status >= 500:
            raise UpstreamUnavailable(f"the upstream answered {answer.status} to /v2/access/self")
        if answer.status != 200:
            raise UpstreamError(f"the upstream answered {answer.status} to /v2/access/self")
        try:
            user = msgspec.convert(rewriting.decode(answer.body), UpstreamUser)
        except (msgspec.MsgspecError, UpstreamError) as error:
            raise UpstreamError("the upstream's /v2/access/self is not what the Access API says") from error
        if not user.isAuth:
            raise SessionExpired
        return _shown(user)

    async def pages(self, upstream: Upstream, path: str, *, most_entries: int) -> AsyncGenerator[Page, None]:
        """Every page below a path, in order. An end without error is the end of a list that was read whole.

        Raises as `page`, and UpstreamError for an upstream that goes in circles, stops short or never ends.
        """
        offset, repeats, seen, more = 0, 0, set[str](), True
        while more:
            page = await self.page(upstream, path, PAGE_ENTRIES, offset)
            known = len(seen)
            seen.update(str(entry.get("id")) for entry in page.entries if isinstance(entry, dict))
            repeats = 0 if len(seen) > known else repeats + 1
            offset, more = offset + len(page.entries), page.has_more
            if more and not page.entries:
                raise UpstreamError(f"the upstream says that there is more of {path}, and shows nothing")
            if more and repeats > _MOST_REPEATS:
                raise UpstreamError(f"the upstream shows the same entries of {path} again and again")
            if max(len(seen), offset // (_MOST_REPEATS + 1)) > most_entries:
                raise UpstreamError(f"{path} has more than {most_entries} entries")
            yield page

    async def page(self, upstream: Upstream, path: str, limit: int, offset: int) -> Page:
        """One page. Raises NotFound for 404, SessionExpired, SessionNotProvided, TooManyRequests, UpstreamError."""
        target = f"{path}?limit={limit}&offset={offset}"
        answer = await self.call(upstream, "GET", target, headers={"Accept": "application/json"})
        _check_status(answer, path)
        if len(answer.body) <= _INLINE_BYTES:
            document = rewriting.decode(answer.body)
        else:
            document = await asyncio.to_thread(rewriting.decode, answer.body)
        entries = document.get("list") if isinstance(document, dict) else None
        has_more = document.get("hasMore") if isinstance(document, dict) else None
        if not isinstance(entries, list) or not isinstance(has_more, bool):
            raise UpstreamError(f"the upstream's {path} is not what the Access API says")
        return Page(target, entries, has_more)

    async def call(
        self,
        upstream: Upstream,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """One call to `base_url` + `target` with the connection's session; 401 raises for the session it refuses."""
        session = upstream.session
        sent = CIMultiDict(headers or {})  # the session's own stand instead of the caller's, however they are written
        sent.update(session.headers)
        sent.update({"User-Agent": session.user_agent, "Accept-Encoding": "gzip, identity"})
        if session.cookie:
            sent["Cookie"] = session.cookie
        async with self._pacing.of(upstream.connection_id).turn():
            answer = await self._answer(method, upstream.base_url + target, sent, body)
        if answer.status == 401:
            raise SessionExpired if session.cookie or session.headers else SessionNotProvided
        return answer

    async def _answer(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        try:
            async with (
                asyncio.timeout(self._longest_call_seconds),
                self._client.request(method, url, headers, body) as response,
            ):
                _check_answer(response.status)
                return await _whole(response)
        except (AddressDenied, UpstreamError):
            raise
        except OriginUnavailable as error:
            raise UpstreamUnavailable(f"the upstream does not answer: {error}") from error
        except TimeoutError as error:
            raise UpstreamUnavailable("the upstream does not answer in time") from error
        except OriginError as error:
            raise UpstreamError(f"the upstream's answer cannot be used: {error}") from error


def _shown(user: UpstreamUser) -> UpstreamUser:
    """As it can be kept and shown: names of a sensible length without control characters, whoever chose them."""
    username, name = (
        None if text is None else _CONTROLS.sub("\ufffd", text[:_LONGEST_NAME]) for text in (user.username, user.name)
    )
    avatar = user.avatar if user.avatar is None or len(user.avatar) <= _LONGEST_URL else None
    return msgspec.structs.replace(user, username=username, name=name, avatar=avatar)


def _check_answer(status: int) -> None:
    """Raise for what is no answer to what was asked: nothing of it is read, handed on or remembered.

    Neither a Range, a condition nor an upgrade was asked for, and whoever asked follows no redirect.
    """
    if status in _REDIRECTS:
        raise UpstreamError("the upstream redirects; import the connection with the base URL it redirects to")
    if not (200 <= status < 300 or 400 <= status < 600) or status == 206:
        raise UpstreamError(f"the upstream answered {status}, which nothing was asked for")


def _check_status(answer: Answer, path: str) -> None:
    if answer.status == 200:
        return
    if answer.status == 404:
        raise NotFound(f"the upstream has no {path}")
    if answer.status == 429:
        told = answer.retry_after if _SECONDS.fullmatch(answer.retry_after or "") else None
        raise TooManyRequests("the upstream limits this account", retry_after=told or 60)
    kind = UpstreamUnavailable if answer.status >= 500 else UpstreamError
    raise kind(f"the upstream answered {answer.status} to {path}")


async def _whole(response: Response) -> Answer:
    # 205 has no content, whatever comes after its head (RFC 9110 §15.3.6); of 204 the client reads none.
    body = b"" if response.status in _WITHOUT_CONTENT else await response.read(LARGEST_ANSWER)
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if not body:  # an answer to HEAD names the encoding of what it does not hold
        pass
    elif encoding == "gzip":
        body = _gunzipped(body)
    elif encoding not in {"", "identity"}:
        raise UpstreamError(f"the upstream answers in {encoding[:20]!r}, which was not asked")
    content_type = response.headers.get("Content-Type", "")
    return Answer(response.status, content_type, body, response.headers.get("Retry-After"))


def _gunzipped(body: bytes) -> bytes:
    unzip = zlib.decompressobj(wbits=31)
    try:
        whole = unzip.decompress(body, LARGEST_ANSWER)
    except zlib.error as error:
        raise UpstreamError("the upstream's gzip is broken") from error
    if unzip.unconsumed_tail or unzip.unused_data or not unzip.eof:
        raise UpstreamError("the upstream's gzip is cut off, too large, or has something behind it")
    return whole
