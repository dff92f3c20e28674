"""The outer edge of an ASGI application: a request id on every answer, and every error in the contract's one shape."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route, Router

from mediavault.errors import VaultError
from mediavault.problems import TYPE_OF_STATUS, Problem, new_request_id, problem
from mediavault.telemetry import Events, logger

App = Callable[[Any, Any, Any], Awaitable[None]]

Headers = list[tuple[bytes, bytes]]
_HEADERS = "mediavault.headers"

_TEXT_OF_STATUS = {404: "Not found", 405: "Method not allowed"}


def answer_with(scope: Any, name: str, value: str) -> None:
    """Give the answer to this request a header, be it a success or an error."""
    scope[_HEADERS].append((name.encode("latin-1"), value.encode("latin-1")))


def answer_headers(scope: Any) -> Headers:
    """The headers that the answer to this request is given beside its own, be it a success or an error."""
    return scope[_HEADERS]  # type: ignore[no-any-return]


class Answering:
    """Runs an application, and turns whatever it raises into the contract's error."""

    def __init__(self, application: App) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one HTTP request."""
        request_id = new_request_id()
        of_operation: Headers = []
        scope[_HEADERS] = of_operation
        started = False

        async def identified_send(message: Any) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                identified = (b"x-request-id", request_id.encode())
                message["headers"] = [*message["headers"], *of_operation, identified]
            await send(message)

        try:
            await self._application(scope, receive, identified_send)
        except ClientDisconnect:
            return  # the caller hung up while sending: nobody waits for an answer
        except Exception as error:
            if started:
                raise
            if not isinstance(error, VaultError | HTTPException):
                logger().exception(Events.REQUEST_FAILED, request_id=request_id)
            await _send_problem(identified_send, _problem(error), request_id, head=scope["method"] == "HEAD")


class Routes:
    """Endpoints by path and method. Raises HTTPException for what is not there, with every method of the path.

    A path that is written out is its own, whatever parameter of another one would also take it: `…/import` is no id.
    """

    def __init__(
        self, routes: Sequence[Route], *, besides: Callable[[str], frozenset[str]] = lambda _: frozenset()
    ) -> None:
        self.routes = tuple(routes)
        self._besides = besides  #: methods of a path that are answered before these routes are asked
        self._router = Router(self.routes, redirect_slashes=False)
        self._written_out: dict[str, set[str]] = {}
        for route in self.routes:
            if "{" not in route.path:
                self._written_out.setdefault(route.path, set()).update(route.methods or ())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one HTTP request, or raise."""
        if scope["path"].endswith("\n"):  # the framework's patterns end in "$", which holds before it too
            raise HTTPException(404)
        methods = self._written_out.get(scope["path"])
        if methods is not None and scope["method"] not in methods:
            raise HTTPException(405, headers={"Allow": ", ".join(sorted(methods))})
        scope["app"] = self  # so that the router raises its 404 and 405 instead of answering them in its own way
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            if error.status_code != 405:
                raise
            raise HTTPException(405, headers={"Allow": ", ".join(self._methods(scope["path"]))}) from None

    def _methods(self, path: str) -> list[str]:
        routed = {method for route in self.routes if route.path_regex.match(path) for method in route.methods or ()}
        return sorted(routed | self._besides(path))


def _problem(error: Exception) -> Problem:
    if not isinstance(error, HTTPException):
        return problem(error)
    kind = TYPE_OF_STATUS.get(error.status_code, "BAD_REQUEST")
    text = _TEXT_OF_STATUS.get(error.status_code, error.detail)
    return Problem(error.status_code, kind, text, error.headers or {})


async def _send_problem(send: Any, trouble: Problem, request_id: str, *, head: bool) -> None:
    content = trouble.body(request_id)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(content)),
        (b"cache-control", b"no-store"),
        *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in trouble.headers.items()),
    ]
    await send({"type": "http.response.start", "status": trouble.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else content})
