"""Account and connections (contract.md, "Account and connections")."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mediavault.api.requests import integer, json_body, json_response, principal
from mediavault.errors import InvalidRequest
from mediavault.vault.authorising import Authorising, Principal, Scope
from mediavault.vault.connecting import STATUSES, Connecting, ImportRequest, RefreshRequest

_CONNECTIONS = "/v2/account/connections"


@dataclass(frozen=True)
class Account:
    """The endpoints of the caller's account."""

    authorising: Authorising
    connecting: Connecting

    def routes(self) -> list[Route]:
        """In the order they are tried."""
        return [
            Route("/v2/account/whoami", self.whoami, methods=["GET"]),
            Route(_CONNECTIONS, self.connections, methods=["GET"]),
            Route(_CONNECTIONS + "/import", self.import_, methods=["POST"]),
            Route(_CONNECTIONS + "/import/{connection_id}", self.refresh, methods=["PATCH"]),
            Route(_CONNECTIONS + "/{connection_id}", self.disconnect, methods=["DELETE"]),
            Route(_CONNECTIONS + "/{connection_id}/invalidate", self.invalidate, methods=["POST"]),
        ]

    async def whoami(self, request: Request) -> Response:
        """`GET /v2/account/whoami`."""
        caller = await self._caller(request)
        return json_response({"id": caller.org_id, "name": caller.organisation, "permissions": sorted(caller.scopes)})

    async def connections(self, request: Request) -> Response:
        """`GET /v2/account/connections`."""
        caller = await self._caller(request)
        limit, offset = integer(request, "limit", 10, 1, 100), integer(request, "offset", 0, 0, 10**9 - 1)
        status = request.query_params.get("status")
        if status is not None and status not in STATUSES:
            raise InvalidRequest(f"status must be one of {', '.join(STATUSES)}")
        imported = request.query_params.get("imported")
        if imported not in {None, "true", "false"}:
            raise InvalidRequest('imported must be "true" or "false"')
        if imported == "false":  # every connection of this vault is an imported one
            return json_response({"list": [], "hasMore": False})
        views, has_more = await self.connecting.listed(caller.org_id, status, limit, offset)
        return json_response({"list": views, "hasMore": has_more})

    async def import_(self, request: Request) -> Response:
        """`POST /v2/account/connections/import`."""
        caller = await self._caller(request)
        return json_response(await self.connecting.import_(caller.org_id, await json_body(request, ImportRequest)))

    async def refresh(self, request: Request) -> Response:
        """`PATCH /v2/account/connections/import/{id}`."""
        caller = await self._caller(request)
        renewed = await json_body(request, RefreshRequest)
        return json_response(await self.connecting.refresh(caller.org_id, _named(request), renewed))

    async def disconnect(self, request: Request) -> Response:
        """`DELETE /v2/account/connections/{id}`."""
        caller = await self._caller(request)
        await self.connecting.disconnect(caller.org_id, _named(request))
        return json_response({"success": True})

    async def invalidate(self, request: Request) -> Response:
        """`POST /v2/account/connections/{id}/invalidate`."""
        caller = await self._caller(request)
        return json_response(await self.connecting.invalidate(caller.org_id, _named(request)))

    async def _caller(self, request: Request) -> Principal:
        return await principal(self.authorising, request.scope, Scope.ACCOUNT)


def _named(request: Request) -> str:
    return str(request.path_params["connection_id"])
