"""Webhook endpoints, their secrets, and the log of what they were sent (contract.md, "Webhooks")."""

from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mediavault.api.requests import integer, json_body, json_response, principal
from mediavault.vault.authorising import Authorising, Scope
from mediavault.vault.notifying import Notifying
from mediavault.vault.webhook_messages import EndpointChange, EndpointRequest

_ENDPOINTS = "/v2/webhooks/endpoints"
_ENDPOINT = _ENDPOINTS + "/{endpoint_id}"
_LARGEST_PAGE = 100


class RotateRequest(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /v2/webhooks/endpoints/{endpointId}/rotate`."""

    overlap_hours: float = 24


class ReplayRequest(msgspec.Struct, frozen=True, rename="camel"):
    """The body of `POST /v2/webhooks/endpoints/{endpointId}/replay`."""

    event_id: str
    and_later: bool = False


@dataclass(frozen=True)
class Webhooks:
    """The endpoints about webhook endpoints."""

    authorising: Authorising
    notifying: Notifying

    def routes(self) -> list[Route]:
        """In the order they are tried."""
        return [
            Route(_ENDPOINTS, self.endpoints, methods=["GET"]),
            Route(_ENDPOINTS, self.create, methods=["POST"]),
            Route(_ENDPOINT, self.endpoint, methods=["GET"]),
            Route(_ENDPOINT, self.change, methods=["PATCH"]),
            Route(_ENDPOINT, self.remove, methods=["DELETE"]),
            Route(_ENDPOINT + "/rotate", self.rotate, methods=["POST"]),
            Route(_ENDPOINT + "/test", self.test, methods=["POST"]),
            Route(_ENDPOINT + "/deliveries", self.deliveries, methods=["GET"]),
            Route(_ENDPOINT + "/replay", self.replay, methods=["POST"]),
            Route("/v2/webhooks/deliveries/{delivery_id}/redeliver", self.redeliver, methods=["POST"]),
        ]

    async def endpoints(self, request: Request) -> Response:
        """`GET /v2/webhooks/endpoints`."""
        return json_response({"list": await self.notifying.listed(await self._org(request))})

    async def create(self, request: Request) -> Response:
        """`POST /v2/webhooks/endpoints`."""
        org_id = await self._org(request)
        return json_response(await self.notifying.create(org_id, await json_body(request, EndpointRequest)))

    async def endpoint(self, request: Request) -> Response:
        """`GET /v2/webhooks/endpoints/{endpointId}`."""
        return json_response(await self.notifying.endpoint(await self._org(request), _named(request)))

    async def change(self, request: Request) -> Response:
        """`PATCH /v2/webhooks/endpoints/{endpointId}`."""
        org_id = await self._org(request)
        wanted = await json_body(request, EndpointChange)
        return json_response(await self.notifying.change(org_id, _named(request), wanted))

    async def remove(self, request: Request) -> Response:
        """`DELETE /v2/webhooks/endpoints/{endpointId}`."""
        await self.notifying.remove(await self._org(request), _named(request))
        return json_response({"success": True})

    async def rotate(self, request: Request) -> Response:
        """`POST /v2/webhooks/endpoints/{endpointId}/rotate`."""
        org_id = await self._org(request)
        wanted = await json_body(request, RotateRequest)
        return json_response(await self.notifying.rotate(org_id, _named(request), wanted.overlap_hours))

    async def test(self, request: Request) -> Response:
        """`POST /v2/webhooks/endpoints/{endpointId}/test`."""
        return json_response(await self.notifying.send_test(await self._org(request), _named(request)))

    async def deliveries(self, request: Request) -> Response:
        """`GET /v2/webhooks/endpoints/{endpointId}/deliveries`."""
        org_id, query = await self._org(request), request.query_params
        limit = integer(request, "limit", _LARGEST_PAGE, 1, _LARGEST_PAGE)
        shown, cursor = await self.notifying.log(
            org_id, _named(request), query.get("state"), query.get("cursor"), limit
        )
        return json_response({"items": shown} | ({} if cursor is None else {"nextCursor": cursor}))

    async def replay(self, request: Request) -> Response:
        """`POST /v2/webhooks/endpoints/{endpointId}/replay`."""
        org_id = await self._org(request)
        wanted = await json_body(request, ReplayRequest)
        count = await self.notifying.replay(org_id, _named(request), wanted.event_id, and_later=wanted.and_later)
        return json_response({"success": True, "eventCount": count})

    async def redeliver(self, request: Request) -> Response:
        """`POST /v2/webhooks/deliveries/{deliveryId}/redeliver`."""
        org_id = await self._org(request)
        return json_response(await self.notifying.redeliver(org_id, str(request.path_params["delivery_id"])))

    async def _org(self, request: Request) -> str:
        return (await principal(self.authorising, request.scope, Scope.ACCOUNT)).org_id


def _named(request: Request) -> str:
    return str(request.path_params["endpoint_id"])
