"""The access gateway's door (contract.md, "Access"): any method, any path below `/v2/access/`."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from mediavault.api.requests import LARGEST_FORWARDED_BODY, body, connection_id, principal
from mediavault.vault.access import Access
from mediavault.vault.authorising import Authorising, Scope

PREFIX = "/v2/access/"


@dataclass(frozen=True)
class Gateway:
    """The endpoint of the gateway."""

    authorising: Authorising
    access: Access

    async def __call__(self, request: Request) -> Response:
        """Forward the call; its answer's observations are committed when it goes out."""
        caller = await principal(self.authorising, request.scope, Scope.ACCESS)
        connection = connection_id(request.scope)
        answer = await self.access.forward(
            caller.org_id,
            connection,
            request.method,
            request.scope["raw_path"].decode("latin-1"),
            request.scope["query_string"].decode("latin-1"),
            request.headers,
            await body(request, LARGEST_FORWARDED_BODY),
        )
        return Response(answer.body, answer.status, media_type=answer.content_type)
