"""The ASGI application of the API port: one way in, one error shape out, a request id on everything."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mediavault.api.access import METHODS as ACCESS_METHODS
from mediavault.api.access import PREFIX as ACCESS_PREFIX
from mediavault.api.access import Gateway
from mediavault.api.answering import Answering, Routes
from mediavault.api.limits import Limits
from mediavault.api.media import ITEM_PREFIX, Media, is_item
from mediavault.api.requests import json_response, with_integers

_HOT_METHODS = frozenset({"GET", "HEAD"})
_PROBES = frozenset({"/livez", "/readyz"})


class Application:
    """Sends each request to its endpoint."""

    def __init__(
        self,
        media: Media,
        gateway: Gateway,
        routes: Sequence[Route],
        is_ready: Callable[[], Awaitable[dict[str, str]]],
        limits: Limits,
    ) -> None:
        self._media = media
        self._gateway = gateway
        self._is_ready = is_ready
        self._limits = limits
        health = [Route("/livez", self._live, methods=["GET"]), Route("/readyz", self._ready, methods=["GET"])]
        self._routes = Routes([*media.routes(), *routes, *health], besides=_methods_of_item)
        self._answering = Answering(self._dispatch)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one HTTP request."""
        await self._answering(scope, receive, send)

    def operations(self) -> set[tuple[str, str]]:
        """Every `(method, path)` there is, as the API document must list them."""
        routed = {(method, route.path) for route in self._routes.routes for method in route.methods or ()}
        item = {(method, ITEM_PREFIX + "{media_id}") for method in _HOT_METHODS}
        return routed | item | {(method, ACCESS_PREFIX + "{path}") for method in ACCESS_METHODS}

    async def _dispatch(self, scope: Any, receive: Any, send: Any) -> None:
        scope = with_integers(scope)
        path = scope["path"]
        if scope["method"] in _HOT_METHODS and is_item(path):
            self._limits.visit(scope, seated=False)
            await self._media.item(scope, send)
        elif path in _PROBES:  # whoever restarts what does not answer must have its answer
            await self._routes(scope, receive, send)
        else:
            visit = self._limits.visit(scope, seated=True)
            try:
                await self._answer(path, scope, receive, send)
            finally:
                visit.end()

    async def _answer(self, path: str, scope: Any, receive: Any, send: Any) -> None:
        if path.startswith(ACCESS_PREFIX):
            response = await self._gateway(Request(scope, receive))
            await response(scope, receive, send)
        else:
            await self._routes(scope, receive, send)

    async def _live(self, _: Request) -> Response:
        return json_response({"status": "ok"})

    async def _ready(self, _: Request) -> Response:
        checks = await self._is_ready()
        ready = all(outcome == "ok" for outcome in checks.values())
        return json_response({"status": "ok" if ready else "unavailable", "checks": checks}, 200 if ready else 503)


def _methods_of_item(path: str) -> frozenset[str]:
    return _HOT_METHODS if is_item(path) else frozenset()
