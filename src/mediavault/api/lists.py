"""Vault+ lists: folders of the creator's vault upstream (contract.md, "Vault+ lists")."""

import re
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mediavault.api.requests import connection_id, integer, json_response, principal
from mediavault.errors import InvalidRequest
from mediavault.vault.authorising import Authorising, Scope
from mediavault.vault.connecting import Connecting, Connection
from mediavault.vault.list_contents import ListContents
from mediavault.vault.syncing import Syncing

_LISTS = "/v2/vault-plus/lists"
_LIST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_LARGEST_PAGE = 100


@dataclass(frozen=True)
class Lists:
    """The endpoints of lists."""

    authorising: Authorising
    connecting: Connecting
    contents: ListContents
    syncing: Syncing

    def routes(self) -> list[Route]:
        """In the order they are tried."""
        return [
            Route(_LISTS, self.lists, methods=["GET"]),
            Route(_LISTS + "/{list_id}/media", self.media, methods=["GET"]),
            Route(_LISTS + "/{list_id}/add", self.add, methods=["PUT"]),
            Route(_LISTS + "/{list_id}/sync", self.sync, methods=["PUT"]),
        ]

    async def lists(self, request: Request) -> Response:
        """`GET /v2/vault-plus/lists`."""
        connection = await self._connection(request)
        limit = integer(request, "limit", _LARGEST_PAGE, 1, _LARGEST_PAGE)
        return json_response(await self.contents.lists(connection, limit, integer(request, "offset", 0, 0, 10**9 - 1)))

    async def media(self, request: Request) -> Response:
        """`GET /v2/vault-plus/lists/{listId}/media`."""
        connection, list_id = await self._connection(request), named_list(request)
        limit = integer(request, "limit", _LARGEST_PAGE, 1, _LARGEST_PAGE)
        return json_response(await self.contents.media(connection, list_id, limit, request.query_params.get("cursor")))

    async def add(self, request: Request) -> Response:
        """`PUT /v2/vault-plus/lists/{listId}/add`."""
        connection, list_id = await self._connection(request), named_list(request)
        return json_response(await self.syncing.add(connection, list_id))

    async def sync(self, request: Request) -> Response:
        """`PUT /v2/vault-plus/lists/{listId}/sync`."""
        connection, list_id = await self._connection(request), named_list(request)
        confirm = request.query_params.get("confirm")
        if confirm not in {None, "true", "false"}:
            raise InvalidRequest('confirm must be "true" or "false"')
        return json_response(await self.syncing.sync(connection, list_id, confirm=confirm == "true"))

    async def _connection(self, request: Request) -> Connection:
        caller = await principal(self.authorising, request.scope, Scope.ACCOUNT)
        return await self.connecting.connection(caller.org_id, connection_id(request.scope))


def named_list(request: Request) -> str:
    """The list id of the path. Raises InvalidRequest for what could be none: it becomes part of an upstream's path."""
    list_id = str(request.path_params["list_id"])
    if not _LIST_ID.fullmatch(list_id):
        raise InvalidRequest("listId is 1 to 64 letters, digits, '_' and '-'")
    return list_id
