"""Settings of the organisation and of connections (contract.md, "Account and connections")."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mediavault.api.requests import json_body, json_response, principal
from mediavault.vault.authorising import Authorising, Principal, Scope
from mediavault.vault.configuring import ConnectionPatch, OrganisationPatch
from mediavault.vault.simulating import Settings

_ORGANISATION = "/v2/account/settings"
_CONNECTION = "/v2/account/connections/{connection_id}/settings"


@dataclass(frozen=True)
class SettingsEndpoints:
    """The endpoints of settings, and of what a change of them would do."""

    authorising: Authorising
    settings: Settings

    def routes(self) -> list[Route]:
        """In the order they are tried."""
        return [
            Route(_ORGANISATION, self.organisation, methods=["GET"]),
            Route(_ORGANISATION, self.change_organisation, methods=["PATCH"]),
            Route(_ORGANISATION + "/simulate", self.simulate_organisation, methods=["POST"]),
            Route(_CONNECTION, self.connection, methods=["GET"]),
            Route(_CONNECTION, self.change_connection, methods=["PATCH"]),
            Route(_CONNECTION + "/simulate", self.simulate_connection, methods=["POST"]),
        ]

    async def organisation(self, request: Request) -> Response:
        """`GET /v2/account/settings`."""
        caller = await self._caller(request)
        return json_response(await self.settings.organisation(caller.org_id))

    async def change_organisation(self, request: Request) -> Response:
        """`PATCH /v2/account/settings`."""
        caller = await self._caller(request)
        patch = await json_body(request, OrganisationPatch)
        return json_response(await self.settings.change_organisation(caller.org_id, patch))

    async def simulate_organisation(self, request: Request) -> Response:
        """`POST /v2/account/settings/simulate`."""
        caller = await self._caller(request)
        patch = await json_body(request, OrganisationPatch)
        return json_response(await self.settings.simulate_organisation(caller.org_id, patch))

    async def connection(self, request: Request) -> Response:
        """`GET /v2/account/connections/{id}/settings`."""
        caller = await self._caller(request)
        return json_response(await self.settings.connection(caller.org_id, _named(request)))

    async def change_connection(self, request: Request) -> Response:
        """`PATCH /v2/account/connections/{id}/settings`."""
        caller = await self._caller(request)
        patch = await json_body(request, ConnectionPatch)
        return json_response(await self.settings.change_connection(caller.org_id, _named(request), patch))

    async def simulate_connection(self, request: Request) -> Response:
        """`POST /v2/account/connections/{id}/settings/simulate`."""
        caller = await self._caller(request)
        patch = await json_body(request, ConnectionPatch)
        return json_response(await self.settings.simulate_connection(caller.org_id, _named(request), patch))

    async def _caller(self, request: Request) -> Principal:
        return await principal(self.authorising, request.scope, Scope.ACCOUNT)


def _named(request: Request) -> str:
    return str(request.path_params["connection_id"])
