"""Vault+ media and stats (contract.md, "Vault+ media", "Vault+ stats"; the item: the seed)."""

from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mediavault.api.requests import connection_id, integral_text, json_body, json_response, principal
from mediavault.domain.media_query import read_query
from mediavault.vault.authorising import Authorising, Scope
from mediavault.vault.connecting import Connecting, Connection
from mediavault.vault.listing import Listing
from mediavault.vault.reading import Reading
from mediavault.vault.removing import Removing

PATH = "/v2/vault-plus/media"
ITEM_PREFIX = PATH + "/"
#: The only static route below the prefix.
_BATCH = "batch"


class BatchRequest(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /v2/vault-plus/media/batch`."""

    media_ids: list[str | int]

    def ids(self) -> list[str]:
        """As texts; one that is written as an integral float is that integer, as in paths."""
        return [integral_text(str(media_id)) for media_id in self.media_ids]


@dataclass(frozen=True)
class Media:
    """The endpoints of media items."""

    authorising: Authorising
    connecting: Connecting
    reading: Reading
    listing: Listing
    removing: Removing

    def routes(self) -> list[Route]:
        """In the order they are tried: the static one before the id."""
        return [
            Route(PATH, self.page, methods=["GET"]),
            Route(PATH, self.purge, methods=["DELETE"]),
            Route(ITEM_PREFIX + _BATCH, self.batch, methods=["POST"]),
            Route(ITEM_PREFIX + "{media_id}", self.remove, methods=["DELETE"]),
            Route("/v2/vault-plus/status", self.status, methods=["GET"]),
            Route("/v2/vault-plus/stats", self.stats, methods=["GET"]),
        ]

    async def item(self, scope: Any, send: Any) -> None:
        """`GET /v2/vault-plus/media/{mediaId}`, the hot one: plain ASGI, one query, no framework on the way."""
        caller = await principal(self.authorising, scope, Scope.ACCOUNT)
        media_id = scope["path"][len(ITEM_PREFIX) :]
        content = await self.reading.item_json(caller.org_id, connection_id(scope), media_id)
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", b"%d" % len(content)),
                    (b"cache-control", b"no-store"),
                ],
            }
        )
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})

    async def page(self, request: Request) -> Response:
        """`GET /v2/vault-plus/media`."""
        connection = await self._connection(request)
        return json_response(await self.listing.media(connection, read_query(request.query_params.multi_items())))

    async def purge(self, request: Request) -> Response:
        """`DELETE /v2/vault-plus/media`: every variant of the connection."""
        connection = await self._connection(request)
        purged = await self.removing.purge(connection.org_id, connection.id, "purged")
        return json_response({"success": True, "purgedCount": purged.variants, "freedBytes": purged.freed_bytes})

    async def batch(self, request: Request) -> Response:
        """`POST /v2/vault-plus/media/batch`."""
        connection = await self._connection(request)
        wanted = await json_body(request, BatchRequest)
        items = await self.reading.batch(connection, wanted.ids())
        return json_response({"items": items})

    async def remove(self, request: Request) -> Response:
        """`DELETE /v2/vault-plus/media/{mediaId}`."""
        connection = await self._connection(request)
        media_id = request.path_params["media_id"]
        freed_bytes = await self.removing.remove(connection.org_id, connection.id, media_id)
        return json_response({"success": True, "mediaId": media_id, "freedBytes": freed_bytes})

    async def status(self, request: Request) -> Response:
        """`GET /v2/vault-plus/status`."""
        return json_response(await self.reading.connection_totals(await self._connection(request)))

    async def stats(self, request: Request) -> Response:
        """`GET /v2/vault-plus/stats`."""
        caller = await principal(self.authorising, request.scope, Scope.ACCOUNT)
        return json_response(await self.reading.organisation_totals(caller.org_id))

    async def _connection(self, request: Request) -> Connection:
        caller = await principal(self.authorising, request.scope, Scope.ACCOUNT)
        return await self.connecting.connection(caller.org_id, connection_id(request.scope))


def is_item(path: str) -> bool:
    """Whether the path is that of one item."""
    media_id = path[len(ITEM_PREFIX) :]
    return path.startswith(ITEM_PREFIX) and media_id not in {"", _BATCH} and "/" not in media_id
