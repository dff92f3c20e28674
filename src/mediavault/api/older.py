"""The older paths that published clients still call (contract.md, "Older paths"): the current ones by other names."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from msgspec import UNSET, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mediavault.api.answering import answer_with
from mediavault.api.lists import named_list
from mediavault.api.media import BatchRequest
from mediavault.api.requests import connection_id, json_body, json_response, principal
from mediavault.domain.media_query import LIST_PARAMETERS, read_query
from mediavault.vault.authorising import Authorising, Scope
from mediavault.vault.connecting import Connecting, Connection
from mediavault.vault.identifying import Identifying, OlderItemView
from mediavault.vault.listing import Listing
from mediavault.vault.reading import ItemView, Reading
from mediavault.vault.removing import Removing
from mediavault.vault.syncing import Syncing

_PREFIX = "/v2/vault-plus/"
_CACHE_PREFIX = "/v2/vault/"
#: Since when they are deprecated (RFC 9745): 2025-06-01T00:00:00Z, in Unix seconds.
DEPRECATED_SINCE = 1_748_736_000
#: What stands where the older item's path has its media id, but is a path of its own: those methods are 405 there.
RESERVED = frozenset(
    {"at-risk", "batch", "list", "lists", "media", "purge", "settings", "stats", "status", "store"},
)

Endpoint = Callable[[Request], Awaitable[Response]]


class OlderPage(Struct, frozen=True, rename="camel"):
    """`GET /v2/vault-plus/list`; no `nextCursor` on the last page."""

    items: list[OlderItemView]
    next_cursor: str | UnsetType = UNSET


@dataclass(frozen=True)
class Older:
    """The endpoints of the older paths."""

    authorising: Authorising
    connecting: Connecting
    reading: Reading
    listing: Listing
    removing: Removing
    identifying: Identifying
    syncing: Syncing

    def routes(self) -> list[Route]:
        """In the order they are tried: the ids come last."""
        return [
            _route("POST", "batch", self.batch, "media/batch"),
            _route("GET", "list", self.listed, "media"),
            _route("DELETE", "purge", self.purge, "media"),
            _route("GET", "store/status", self.status, "status"),
            _route("GET", "store/stats", self.stats, "stats"),
            _route("POST", "store/list/{list_id}", self.store_list, "lists/{list_id}/add"),
            _route("POST", "cache/list/{list_id}", self.store_list, "lists/{list_id}/add", _CACHE_PREFIX),
            _of_item("GET", self.item),
            _of_item("DELETE", self.remove),
        ]

    async def item(self, request: Request) -> Response:
        """`GET /v2/vault-plus/{mediaId}`."""
        caller = await principal(self.authorising, request.scope, Scope.ACCOUNT)
        asked = connection_id(request.scope)
        item = await self.reading.item(caller.org_id, asked, request.path_params["media_id"])
        return json_response((await self.identifying.identified(caller.org_id, asked, [item]))[0])

    async def remove(self, request: Request) -> Response:
        """`DELETE /v2/vault-plus/{mediaId}`."""
        connection = await self._connection(request)
        media_id = request.path_params["media_id"]
        freed_bytes = await self.removing.remove(connection.org_id, connection.id, media_id)
        return json_response({"success": True, "mediaId": media_id, "freedBytes": freed_bytes})

    async def batch(self, request: Request) -> Response:
        """`POST /v2/vault-plus/batch`."""
        connection = await self._connection(request)
        wanted = await json_body(request, BatchRequest)
        items = await self.reading.batch(connection, wanted.ids())
        return json_response({"items": await self._identified(connection, items)})

    async def listed(self, request: Request) -> Response:
        """`GET /v2/vault-plus/list`: the current one's default order, with a filter by source."""
        connection = await self._connection(request)
        query = read_query(request.query_params.multi_items(), LIST_PARAMETERS)
        page = await self.listing.media(connection, query)
        return json_response(OlderPage(await self._identified(connection, page.items), page.next_cursor))

    async def purge(self, request: Request) -> Response:
        """`DELETE /v2/vault-plus/purge`."""
        connection = await self._connection(request)
        purged = await self.removing.purge(connection.org_id, connection.id, "purged")
        return json_response({"success": True, "purgedCount": purged.variants, "freedBytes": purged.freed_bytes})

    async def store_list(self, request: Request) -> Response:
        """`POST …/store/list/{listId}` and `POST /v2/vault/cache/list/{listId}`: an add that is not waited for."""
        connection = await self._connection(request)
        return json_response(await self.syncing.start_add(connection, named_list(request)))

    async def status(self, request: Request) -> Response:
        """`GET /v2/vault-plus/store/status`: the current one's counts, and their sum."""
        totals = await self.reading.connection_totals(await self._connection(request))
        return json_response(
            {
                "connectionId": totals.connection_id,
                "totalMedia": totals.stored_count + totals.pending_count,
                "storedCount": totals.stored_count,
                "pendingCount": totals.pending_count,
                "totalSizeBytes": totals.total_size_bytes,
            }
        )

    async def stats(self, request: Request) -> Response:
        """`GET /v2/vault-plus/store/stats`."""
        caller = await principal(self.authorising, request.scope, Scope.ACCOUNT)
        return json_response(await self.reading.organisation_totals(caller.org_id))

    async def _identified(self, connection: Connection, items: Sequence[ItemView]) -> list[OlderItemView]:
        return await self.identifying.identified(connection.org_id, connection.id, items)

    async def _connection(self, request: Request) -> Connection:
        caller = await principal(self.authorising, request.scope, Scope.ACCOUNT)
        return await self.connecting.connection(caller.org_id, connection_id(request.scope))


def _route(method: str, path: str, endpoint: Endpoint, successor: str, prefix: str = _PREFIX) -> Route:
    """A route whose answers, errors too, say that it is deprecated, and what took its place; ids are the path's own."""

    async def deprecated(request: Request) -> Response:
        ids = {name: quote(text, safe="") for name, text in request.path_params.items()}
        target = _PREFIX + successor.format(**ids)
        answer_with(request.scope, "deprecation", f"@{DEPRECATED_SINCE}")
        answer_with(request.scope, "link", f'<{target}>; rel="successor-version"')
        return await endpoint(request)

    return Route(prefix + path, deprecated, methods=[method])


def _of_item(method: str, endpoint: Endpoint) -> Route:
    route = _route(method, "{media_id}", endpoint, "media/{media_id}")
    names = "|".join(re.escape(name) for name in sorted(RESERVED))
    route.path_regex = re.compile(rf"^{re.escape(_PREFIX)}(?P<media_id>(?!(?:{names})\Z)[^/]+)\Z")
    return route
