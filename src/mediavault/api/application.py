"""The ASGI application of the API port: one way in, one error shape out, a request id on everything."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from mediavault.api.access import PREFIX as ACCESS_PREFIX
from mediavault.api.access import Gateway
from mediavault.api.media import Media, is_item
from mediavault.api.requests import json_response, with_integers
from mediavault.errors import VaultError
from mediavault.problems import TYPE_OF_STATUS, Problem, new_request_id, problem
from mediavault.telemetry import Events, logger

_HOT_METHODS = frozenset({"GET", "HEAD"})
_TEXT_OF_STATUS = {404: "Not found", 405: "Method not allowed"}


class Application:
    """Routes requests, and turns whatever is raised into the contract's error."""

    def __init__(
        self, media: Media, gateway: Gateway, routes: Sequence[Route], is_ready: Callable[[], Awaitable[dict[str, str]]]
    ) -> None:
        self._media = media
        self._gateway = gateway
        self._is_ready = is_ready
        health = [Route("/livez", self._live, methods=["GET"]), Route("/readyz", self._ready, methods=["GET"])]
        self._router = Router([*media.routes(), *routes, *health], redirect_slashes=False)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one HTTP request."""
        request_id = new_request_id()
        started = False

        async def identified_send(message: Any) -> None:
            nonlocal started
            if message["type"] == "http.response.start" and not started:
                started = True
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._dispatch(with_integers(scope), receive, send, identified_send, request_id)
        except Exception as error:
            if started:
                raise
            if not isinstance(error, VaultError | HTTPException):
                logger().exception(Events.REQUEST_FAILED, request_id=request_id)
            await _send_problem(send, _problem(error), request_id)

    async def _dispatch(self, scope: Any, receive: Any, send: Any, identified_send: Any, request_id: str) -> None:
        path = scope["path"]
        if scope["method"] in _HOT_METHODS and is_item(path):
            await self._media.item(scope, send, request_id.encode())
        elif path.startswith(ACCESS_PREFIX):
            response = await self._gateway(Request(scope, receive))
            await response(scope, receive, identified_send)
        else:
            scope["app"] = self  # so that the router raises its 404 and 405 instead of answering them in its own way
            await self._router(scope, receive, identified_send)

    async def _live(self, _: Request) -> Response:
        return json_response({"status": "ok"})

    async def _ready(self, _: Request) -> Response:
        checks = await self._is_ready()
        ready = all(outcome == "ok" for outcome in checks.values())
        return json_response({"status": "ok" if ready else "unavailable", "checks": checks}, 200 if ready else 503)


def _problem(error: Exception) -> Problem:
    if not isinstance(error, HTTPException):
        return problem(error)
    kind = TYPE_OF_STATUS.get(error.status_code, "BAD_REQUEST")
    text = _TEXT_OF_STATUS.get(error.status_code, error.detail)
    return Problem(error.status_code, kind, text, error.headers or {})


async def _send_problem(send: Any, trouble: Problem, request_id: str) -> None:
    content = trouble.body(request_id)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(content)),
        (b"cache-control", b"no-store"),
        (b"x-request-id", request_id.encode()),
        *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in trouble.headers.items()),
    ]
    await send({"type": "http.response.start", "status": trouble.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
