"""Why an item's variants are as they are: `GET /v2/vault-plus/media/{mediaId}/explain`."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mediavault.api.requests import connection_id, json_response, principal
from mediavault.vault.authorising import Authorising, Scope
from mediavault.vault.connecting import Connecting
from mediavault.vault.explaining import Explaining


@dataclass(frozen=True)
class Explain:
    """The endpoint of explanations."""

    authorising: Authorising
    connecting: Connecting
    explaining: Explaining

    def routes(self) -> list[Route]:
        """The one."""
        return [Route("/v2/vault-plus/media/{media_id}/explain", self.explain, methods=["GET"])]

    async def explain(self, request: Request) -> Response:
        """`GET /v2/vault-plus/media/{mediaId}/explain`."""
        caller = await principal(self.authorising, request.scope, Scope.ACCOUNT)
        connection = await self.connecting.connection(caller.org_id, connection_id(request.scope))
        return json_response(await self.explaining.explain(connection, str(request.path_params["media_id"])))
