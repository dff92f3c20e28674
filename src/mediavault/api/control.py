"""The control socket: what the command line asks a vault that is running. Only the data folder's owner can open it."""

from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mediavault.api.answering import Answering, Routes
from mediavault.api.requests import json_body, json_response
from mediavault.vault.authorising import Authorising


class NewOrganisation(msgspec.Struct, frozen=True):
    """The body of `POST /organisations`."""

    name: str


class KeyWanted(msgspec.Struct, frozen=True):
    """The body of `POST /keys`."""

    organisation: str
    scopes: list[str]
    name: str | None = None


@dataclass(frozen=True)
class Control:
    """The operator's endpoints; no key is asked, the socket's mode is the door."""

    authorising: Authorising

    def application(self) -> Answering:
        """The ASGI application."""
        routes = [
            Route("/organisations", self.organisations, methods=["GET"]),
            Route("/organisations", self.create_organisation, methods=["POST"]),
            Route("/keys", self.keys, methods=["GET"]),
            Route("/keys", self.create_key, methods=["POST"]),
            Route("/keys/{key_id}/revoke", self.revoke_key, methods=["POST"]),
        ]
        return Answering(Routes(routes))

    async def organisations(self, _: Request) -> Response:
        """Every organisation."""
        return json_response(await self.authorising.organisations())

    async def create_organisation(self, request: Request) -> Response:
        """Add one."""
        wanted = await json_body(request, NewOrganisation)
        return json_response(await self.authorising.create_organisation(wanted.name), 201)

    async def keys(self, _: Request) -> Response:
        """Every key, without secrets."""
        return json_response(await self.authorising.keys())

    async def create_key(self, request: Request) -> Response:
        """Add one; the only answer that holds its secret."""
        wanted = await json_body(request, KeyWanted)
        made = await self.authorising.create_key(wanted.organisation, wanted.scopes, name=wanted.name)
        return json_response(made, 201)

    async def revoke_key(self, request: Request) -> Response:
        """End one."""
        await self.authorising.revoke_key(request.path_params["key_id"])
        return json_response({"revoked": request.path_params["key_id"]})
