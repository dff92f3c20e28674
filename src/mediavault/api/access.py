"""The access gateway's door (contract.md, "Access"): any method of an API, any path below `/v2/access/`."""

from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mediavault.api.requests import LARGEST_FORWARDED_BODY, body, connection_id, principal
from mediavault.errors import InvalidRequest
from mediavault.vault.access import Access
from mediavault.vault.authorising import Authorising, Scope

PREFIX = "/v2/access/"
#: What passes: the methods an Access API is asked with. An upstream answers TRACE with the request it got, the
#: connection's cookie in it; CONNECT opens a tunnel; of the rest nobody knows what they do with a session.
METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


@dataclass(frozen=True)
class Gateway:
    """The endpoint of the gateway."""

    authorising: Authorising
    access: Access

    async def __call__(self, request: Request) -> Response:
        """Forward the call; its answer's observations are committed when it goes out."""
        if request.method not in METHODS:
            raise HTTPException(405, headers={"Allow": ", ".join(METHODS)})
        caller = await principal(self.authorising, request.scope, Scope.ACCESS)
        connection = await self.access.connection(caller.org_id, connection_id(request.scope))
        answer = await self.access.forward(
            connection,
            request.method,
            _text(request.scope["raw_path"]),
            _text(request.scope["query_string"]),
            request.headers,
            await body(request, LARGEST_FORWARDED_BODY),
        )
        headers = {"Cache-Control": "no-store"}
        return Response(answer.body, answer.status, headers, media_type=answer.content_type)


def _text(raw: bytes) -> str:
    """As the client will write it again: in UTF-8, byte for byte."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("the path and the query must be UTF-8") from None
