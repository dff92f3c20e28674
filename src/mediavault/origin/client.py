"""The one guarded HTTP client. Every address is checked where it is dialled, literals and redirects included."""

import asyncio
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote, urljoin

import aiohttp
from aiohappyeyeballs import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDictProxy
from yarl import URL

from mediavault.errors import AddressDenied, OriginError, OriginUnavailable
from mediavault.origin.addresses import AllowList, check

_MOST_REMEMBERED_NAMES = 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_UNSENDABLE = re.compile(r"[^\x21-\x7e]")
_FAILURES = (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError, UnicodeError)


@dataclass(frozen=True)
class ClientConfig:
    """How the outside is dialled."""

    allow: AllowList = field(default_factory=AllowList)  #: what may be dialled although it is not public
    connect_timeout_seconds: float = 10
    read_timeout_seconds: float = 60  #: between two reads
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
        self._names = _NamedHosts(config.allow)
        connector = aiohttp.TCPConnector(
            socket_factory=self._socket, resolver=self._names, limit=0, ttl_dns_cache=30, enable_cleanup_closed=False
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            read_bufsize=256 * 1024,
            headers={"User-Agent": config.user_agent, "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=config.connect_timeout_seconds, sock_read=config.read_timeout_seconds
            ),
        )

    def _socket(self, address: AddrInfoType) -> socket.socket:
        """Called by aiohttp for every address it is about to dial, whatever resolved it."""
        family, kind, protocol, _, target = address
        host, port = str(target[0]), int(target[1])
        if not self._names.granted(host, port):
            check(host, port, self._config.allow)
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

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
            url = _redirected(url, location)
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
            return await self._session.request(
                method, target, headers=headers, data=body, allow_redirects=False, skip_auto_headers=("Content-Type",)
            )
        except aiohttp.InvalidURL:
            raise AddressDenied("the host of the URL is none that may be dialled") from None
        except _FAILURES as error:
            raise OriginUnavailable(f"{target.host} cannot be reached: {_said(error)}") from error

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


def _redirected(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise OriginError("the origin redirects to what is no URL") from None


def _checked(url: str) -> URL:
    """The URL, sent exactly as it was written: a signature may cover its spelling.

    Only what cannot stand in a request line is escaped, as browsers do: spaces, control and non-ASCII characters.
    """
    try:
        target = URL(_UNSENDABLE.sub(lambda found: quote(found[0]), url), encoded=True)
        usable = target.scheme in {"http", "https"} and bool(target.host) and target.port is not None
    except ValueError:
        usable = False
    if not usable:
        raise AddressDenied("only http and https URLs with a host may be dialled")
    if target.user is not None or target.password is not None:
        raise AddressDenied("a URL with credentials in it may not be dialled")
    return target


def _said(error: BaseException) -> str:
    """The error in words that hold no URL: an origin's URL is a secret."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{type(error).__name__} {error.status}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class _NamedHosts(AbstractResolver):
    """Resolves names, and remembers what the names that an operator allowed resolved to."""

    def __init__(self, allow: AllowList) -> None:
        self._allow = allow
        self._resolver = aiohttp.ThreadedResolver()
        self._granted: dict[tuple[str, int], None] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        results = await self._resolver.resolve(host, port, family)
        if self._allow.names(host, port):
            for result in results:
                self._granted[(result["host"], port)] = None
            while len(self._granted) > _MOST_REMEMBERED_NAMES:
                self._granted.pop(next(iter(self._granted)))
            return results
        return self._permitted(results)

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

    def granted(self, address: str, port: int) -> bool:
        """Whether an allowed name stands for this address and port."""
        return (address, port) in self._granted

    async def close(self) -> None:
        await self._resolver.close()
