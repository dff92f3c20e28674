"""The access gateway: a call goes to the connection's upstream, its answer comes back with our media URLs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mediavault.errors import InvalidRequest, SessionExpired, TooManyRequests, UpstreamError, UpstreamUnavailable
from mediavault.origin.access_api import AccessApi, Answer
from mediavault.vault.connecting import Connecting, Connection
from mediavault.vault.observing import Observing

#: What of a caller's request an upstream may see. Never its key, cookies or addresses.
_FORWARDED_HEADERS = ("accept", "accept-language", "content-type", "x-requested-with")
_UNSAFE_PATH = re.compile(r"(^|/)\.{1,2}(/|$)|//|\\|%2f|%5c|%00|%2e|[\x00-\x20\x7f]", re.IGNORECASE)
_UNSAFE_QUERY = re.compile(r"[\x00-\x20\x7f]")
#: Seconds or an HTTP date (RFC 9110 §10.2.3); anything else is not handed on.
_RETRY_AFTER = re.compile(r"[0-9]{1,9}|[A-Za-z]{3}, [0-9]{2} [A-Za-z]{3} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")
_RETRY_SECONDS = 60  #: where an upstream does not tell


@dataclass(frozen=True)
class GatewayAnswer:
    """What the gateway's caller gets."""

    status: int
    content_type: str | None
    body: bytes


class Access:
    """Forwards Access API calls."""

    def __init__(self, connecting: Connecting, access_api: AccessApi, observing: Observing) -> None:
        self._connecting = connecting
        self._access_api = access_api
        self._observing = observing

    async def connection(self, org_id: str, connection_id: str) -> Connection:
        """The connection a call is for. Raises ConnectionUnknown."""
        return await self._connecting.connection(org_id, connection_id)

    async def forward(
        self, connection: Connection, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> GatewayAnswer:
        """One call. `path` is the raw path from `/v2/access/` on; observations are committed when this returns.

        Raises InvalidRequest, SessionExpired, SessionNotProvided, TooManyRequests, UpstreamError, AddressDenied.
        """
        if _UNSAFE_PATH.search(path) or _UNSAFE_QUERY.search(query):
            raise InvalidRequest("the path may not hold '..', '//', backslashes or encoded slashes and dots")
        target = f"{path}?{query}" if query else path
        sent = {name: headers[name] for name in _FORWARDED_HEADERS if name in headers}
        try:
            answer = await self._access_api.call(
                self._connecting.upstream(connection), method, target, headers=sent, body=body or None
            )
        except SessionExpired:
            await self._connecting.refused(connection)
            raise
        _check(answer, method)
        if not answer.body or not answer.is_json:
            return GatewayAnswer(answer.status, None, b"")
        observed = await self._observing.observe(connection, target, answer.body)
        return GatewayAnswer(answer.status, "application/json", observed)


def _check(answer: Answer, method: str) -> None:
    """Raise for an answer that cannot be handed on."""
    if answer.status == 429:
        told = answer.retry_after or ""
        raise TooManyRequests(
            "the upstream limits this account", retry_after=told if _RETRY_AFTER.fullmatch(told) else _RETRY_SECONDS
        )
    if answer.status >= 500:
        raise UpstreamUnavailable(f"the upstream answered {answer.status}")
    if answer.status == 200 and method == "GET" and not answer.body:
        raise UpstreamError("the upstream answered 200 with nothing in it")
    if answer.body and not answer.is_json:
        kind = answer.content_type.partition(";")[0].strip()[:60] or "no content type"
        raise UpstreamError(f"the upstream answered {answer.status} with {kind!r} instead of JSON")
