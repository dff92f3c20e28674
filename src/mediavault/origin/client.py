"""The one guarded HTTP client. Every address is checked where it is dialled, literals and redirects included."""

import asyncio
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from urllib.parse import quote, urljoin

import aiohttp
from aiohappyeyeballs import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.tracing import Trace
from multidict import CIMultiDictProxy
from yarl import URL

from mediavault.domain.reasons import printable
from mediavault.errors import AddressDenied, OriginError, OriginUnavailable
from mediavault.origin.addresses import AllowList, check, check_url

#: Of a body, while nobody takes it; aiohttp holds twice as much at most.
_READ_AHEAD_BYTES = 512 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_UNSENDABLE = re.compile(r"[^\x21-\x7e]")
_FAILURES = (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError, UnicodeError)


@dataclass(frozen=True)
class ClientConfig:
    """How the outside is dialled."""

    allow: AllowList = field(default_factory=AllowList)  #: what may be dialled although it is not public
    connect_timeout_seconds: float = 10
    read_timeout_seconds: float = 60  #: between two reads
    head_timeout_seconds: float = 120  #: from dialling to the end of an answer's head, whatever comes before that
    largest_redirects: int = 5
    user_agent: str = "mediavault"


class Response:
    """An answer whose body is still on its way."""

    def __init__(self, raw: aiohttp.ClientResponse, url: str) -> None:
        self._raw = raw
        self.url = url  #: after redirects
        self.status = raw.status
        self.headers: CIMultiDictProxy[str] = raw.headers

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives. Raises OriginUnavailable when it breaks off."""
        try:
            async for chunk in self._raw.content.iter_any():
                yield chunk
        except _FAILURES as error:
            raise OriginUnavailable(f"the origin broke off: {_said(error)}") from error

    @property
    def arrived(self) -> bool:
        """Whether the origin has nothing more to send; some of it may still have to be read here."""
        return self._raw.content.is_eof()

    async def batches(self) -> AsyncGenerator[list[bytes], None]:
        """The body as it arrives, each time all that is there: nothing is copied together. Raises as `chunks`."""
        content, taken = self._raw.content, 0
        try:
            while True:
                chunk, is_framed = await content.readchunk()
                batch, taken = [chunk], taken + len(chunk)
                here = content.total_bytes
                while taken < here:
                    more, _ = await content.readchunk()
                    batch.append(more)
                    taken += len(more)
                batch = [each for each in batch if each]
                if batch:
                    yield batch
                elif not is_framed:
                    return
        except _FAILURES as error:
            raise OriginUnavailable(f"the origin broke off: {_said(error)}") from error

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body. Raises OriginError when it is larger than the limit, OriginUnavailable when it breaks off."""
        body = bytearray()
        async for chunk in self.chunks():
            body += chunk
            if len(body) > limit_bytes:
                raise OriginError(f"the answer is larger than {limit_bytes} bytes")
        return bytes(body)


class GuardedClient:
    """Dials what may be dialled, and nothing else. No cookies of its own, no proxies from the environment."""

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        connector = _GuardedConnector(config.allow)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            read_bufsize=_READ_AHEAD_BYTES,
            headers={"User-Agent": config.user_agent, "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=config.connect_timeout_seconds, sock_read=config.read_timeout_seconds
            ),
        )

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[Response]:
        """GET, following redirects within bounds; `headers` are safe to show to any host. Raises OriginError."""
        for _ in range(self._config.largest_redirects + 1):
            raw = await self._send("GET", url, headers or {}, None)
            try:
                location = raw.headers.get("Location")
                if raw.status not in _REDIRECTS or location is None:
                    yield Response(raw, url)
                    return
            finally:
                raw.close()
            url = redirected(url, location)
        raise OriginError(f"the origin redirected more than {self._config.largest_redirects} times")

    @asynccontextmanager
    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> AsyncIterator[Response]:
        """One request with secrets in its headers: no redirect is followed. Raises OriginError."""
        raw = await self._send(method, url, headers, body)
        try:
            yield Response(raw, url)
        finally:
            raw.close() if raw.content.exception() or not raw.content.at_eof() else raw.release()

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        target = _checked(url)
        try:
            # An origin may send interim answers (1xx) for ever: to the client that is no silence.
            async with asyncio.timeout(self._config.head_timeout_seconds):
                return await self._session.request(
                    method,
                    target,
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                    skip_auto_headers=("Content-Type",),
                )
        except aiohttp.InvalidURL:
            raise AddressDenied("the host of the URL is none that may be dialled") from None
        except _FAILURES as error:
            raise OriginUnavailable(f"{target.host} cannot be reached: {_said(error)}") from error

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


def redirected(url: str, location: str) -> str:
    """Where a redirect leads. Raises OriginError for what is no URL and for a way out of TLS.

    Whoever redirects may be dialled, not whomever it names: that is checked as any other URL is.
    """
    try:
        target = urljoin(url, location)
    except ValueError:
        raise OriginError("the origin redirects to what is no URL") from None
    if url[:6].lower() == "https:" and target[:5].lower() == "http:":
        raise OriginError("the origin redirects from https to http: the bytes could be anybody's")
    return target


def _checked(url: str) -> URL:
    """The URL, sent exactly as it was written: a signature may cover its spelling.

    Only what cannot stand in a request line is escaped, as browsers do: spaces, control and non-ASCII characters.
    """
    check_url(url)
    try:
        return URL(_UNSENDABLE.sub(lambda found: quote(found[0]), url), encoded=True)
    except ValueError:
        raise AddressDenied("the URL cannot be sent") from None


def _said(error: BaseException) -> str:
    """The error in words that hold no URL: an origin's URL is a secret. They may quote what the origin sent."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{type(error).__name__} {error.status}"
    return printable(f"{type(error).__name__}: {error}") if str(error) else type(error).__name__


#: The host and port of the URL that a connection is made for.
_destination: ContextVar[tuple[str, int]] = ContextVar("destination")


class _GuardedConnector(aiohttp.TCPConnector):
    """Makes connections. An address is checked when it is resolved, when it is dialled, and once it has answered.

    A name that an operator allowed opens its addresses to URLs with that name, and to no others.
    """

    def __init__(self, allow: AllowList) -> None:
        self._allow = allow
        super().__init__(
            socket_factory=self._socket,
            resolver=_GuardedResolver(allow),
            limit=0,
            ttl_dns_cache=30,
            enable_cleanup_closed=False,
        )

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        """As the connector's own. Nothing of the request is sent yet when it returns."""
        token = _destination.set((req.url.raw_host or "", req.url.port or 0))
        try:
            made = await super()._create_connection(req, traces, timeout)
            try:
                self._check_peer(made)
            except AddressDenied:
                made.abort()
                raise
        finally:
            _destination.reset(token)
        return made

    def _socket(self, address: AddrInfoType) -> socket.socket:
        """Called for every address that is about to be dialled, whatever resolved it."""
        family, kind, protocol, _, target = address
        self._check(str(target[0]), int(target[1]))
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    def _check_peer(self, made: ResponseHandler) -> None:
        """Who answers is the one that was meant to be asked, whatever lies between."""
        peer = made.transport.get_extra_info("peername") if made.transport is not None else None
        if peer is not None:  # one that has hung up already has no name, and is sent nothing
            self._check(str(peer[0]), int(peer[1]))

    def _check(self, address: str, port: int) -> None:
        if not self._allow.names(*_destination.get()):
            check(address, port, self._allow)


class _GuardedResolver(AbstractResolver):
    """Resolves names to what may be dialled."""

    def __init__(self, allow: AllowList) -> None:
        self._allow = allow
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        results = await self._resolver.resolve(host, port, family)
        if not results:
            raise OSError(None, "the name has no addresses")
        return results if self._allow.names(host, port) else self._permitted(results)

    def _permitted(self, results: list[ResolveResult]) -> list[ResolveResult]:
        """Those that may be dialled: aiohttp races several addresses, and would lose the reason why all were denied."""
        permitted, denied = [], None
        for result in results:
            try:
                check(result["host"], result["port"], self._allow)
            except AddressDenied as error:
                denied = error
            else:
                permitted.append(result)
        if denied is not None and not permitted:
            raise denied
        return permitted

    async def close(self) -> None:
        await self._resolver.close()
