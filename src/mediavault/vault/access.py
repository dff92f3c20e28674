"""The access gateway: a call goes to the connection's upstream, its answer comes back with our media URLs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mediavault.errors import InvalidRequest, SessionExpired, TooManyRequests, UpstreamError, UpstreamUnavailable
from mediavault.origin.access_api import AccessApi, Answer
from mediavault.vault.connecting import Connecting
from mediavault.vault.observing import Observing

#: What of a caller's request an upstream may see. Never its key, cookies or addresses.
_FORWARDED_HEADERS = ("accept", "accept-language", "content-type", "if-none-match", "x-requested-with")
_UNSAFE_PATH = re.compile(r"(^|/)\.{1,2}(/|$)|//|\\|%2f|%5c|%00|%2e|[\x00-\x20\x7f]", re.IGNORECASE)


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

    async def forward(
        self,
        org_id: str,
        connection_id: str,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> GatewayAnswer:
        """One call. `path` is the raw path from `/v2/access/` on; observations are committed when this returns.

        Raises ConnectionUnknown, InvalidRequest, SessionExpired, SessionNotProvided, TooManyRequests, UpstreamError.
        """
        connection = await self._connecting.connection(org_id, connection_id)
        if _UNSAFE_PATH.search(path):
            raise InvalidRequest("the path may not hold '..', '//', backslashes or encoded slashes and dots")
        target = f"{path}?{query}" if query else path
        sent = {name: headers[name] for name in _FORWARDED_HEADERS if name in headers}
        try:
            answer = await self._access_api.call(
                self._connecting.upstream(connection), method, target, headers=sent, body=body or None
            )
        except SessionExpired:
            await self._connecting.refused(org_id, connection_id)
            raise
        _check(answer)
        if not answer.body or not answer.is_json:
            return GatewayAnswer(answer.status, None, b"")
        observed = await self._observing.observe(connection, target, answer.body)
        return GatewayAnswer(answer.status, "application/json", observed)


def _check(answer: Answer) -> None:
    """Raise for an answer that cannot be handed on."""
    if answer.status == 429:
        raise TooManyRequests("the upstream limits this account", retry_after=answer.retry_after or 60)
    if answer.status >= 500:
        raise UpstreamUnavailable(f"the upstream answered {answer.status}")
    if answer.body and not answer.is_json:
        kind = answer.content_type.partition(";")[0].strip()[:60] or "no content type"
        raise UpstreamError(f"the upstream answered {answer.status} with {kind} instead of JSON")
