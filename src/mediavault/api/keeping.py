"""Undo, pins, and what is at risk: beyond the original's contract."""

from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mediavault.api.requests import connection_id, integer, json_body, json_response, principal
from mediavault.domain.media_query import read_moment
from mediavault.vault.at_risk import AtRisk
from mediavault.vault.authorising import Authorising, Scope
from mediavault.vault.connecting import Connecting, Connection
from mediavault.vault.pinning import Pinning
from mediavault.vault.restoring import Restoring

_ITEM = "/v2/vault-plus/media/{media_id}"
_LARGEST_PAGE = 100
_LONGEST_WITHIN = 10**9 - 1


class PinRequest(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `PUT /v2/vault-plus/media/{mediaId}/pin`."""

    reason: str
    until: str | None = None


@dataclass(frozen=True)
class Keeping:
    """The endpoints that keep media from being lost."""

    authorising: Authorising
    connecting: Connecting
    restoring: Restoring
    pinning: Pinning
    risk: AtRisk

    def routes(self) -> list[Route]:
        """In the order they are tried."""
        return [
            Route(_ITEM + "/restore", self.restore, methods=["POST"]),
            Route(_ITEM + "/pin", self.pin_of, methods=["GET"]),
            Route(_ITEM + "/pin", self.pin, methods=["PUT"]),
            Route(_ITEM + "/pin", self.unpin, methods=["DELETE"]),
            Route("/v2/vault-plus/at-risk", self.at_risk, methods=["GET"]),
        ]

    async def restore(self, request: Request) -> Response:
        """`POST /v2/vault-plus/media/{mediaId}/restore`."""
        connection, media_id = await self._connection(request), _named(request)
        restored = await self.restoring.restore(connection, media_id)
        counts = {"restoredCount": restored.variants, "restoredBytes": restored.size_bytes}
        return json_response({"success": True, "mediaId": media_id, **counts})

    async def pin(self, request: Request) -> Response:
        """`PUT /v2/vault-plus/media/{mediaId}/pin`."""
        connection = await self._connection(request)
        wanted = await json_body(request, PinRequest)
        until = None if wanted.until is None else read_moment("until", wanted.until)
        return json_response(await self.pinning.pin(connection, _named(request), wanted.reason, until))

    async def unpin(self, request: Request) -> Response:
        """`DELETE /v2/vault-plus/media/{mediaId}/pin`."""
        connection = await self._connection(request)
        return json_response(await self.pinning.unpin(connection, _named(request)))

    async def pin_of(self, request: Request) -> Response:
        """`GET /v2/vault-plus/media/{mediaId}/pin`."""
        connection = await self._connection(request)
        return json_response(await self.pinning.pin_of(connection, _named(request)))

    async def at_risk(self, request: Request) -> Response:
        """`GET /v2/vault-plus/at-risk`."""
        connection = await self._connection(request)
        limit = integer(request, "limit", _LARGEST_PAGE, 1, _LARGEST_PAGE)
        within = None
        if "within" in request.query_params:
            within = integer(request, "within", 0, 1, _LONGEST_WITHIN)
        return json_response(await self.risk.page(connection, limit, within, request.query_params.get("cursor")))

    async def _connection(self, request: Request) -> Connection:
        caller = await principal(self.authorising, request.scope, Scope.ACCOUNT)
        return await self.connecting.connection(caller.org_id, connection_id(request.scope))


def _named(request: Request) -> str:
    return str(request.path_params["media_id"])
