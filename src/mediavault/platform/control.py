"""The handles of the sandbox over HTTP, for those who run it in another process. Only for clients on this machine."""

import ipaddress
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from mediavault.platform.answers import BadRequest, api_error, json_answer
from mediavault.platform.faults import Fault
from mediavault.platform.sandbox import Sandbox, UnknownName

PREFIX = "/_sandbox"


class ClockChange(msgspec.Struct, forbid_unknown_fields=True):
    advance_seconds: Annotated[float, msgspec.Meta(ge=0)]


class NewMedia(msgspec.Struct, forbid_unknown_fields=True):
    creator: str
    size_bytes: Annotated[int, msgspec.Meta(ge=0)]
    type: str = "video"
    seed: int = 0


def control(sandbox: Sandbox) -> ASGIApp:
    """The application below /_sandbox."""
    desk = _Desk(sandbox)
    routes = [
        Route(f"{PREFIX}/creators", desk.creators, methods=["GET"]),
        Route(f"{PREFIX}/faults", desk.faults, methods=["GET"]),
        Route(f"{PREFIX}/faults", desk.add_fault, methods=["POST"]),
        Route(f"{PREFIX}/faults", desk.clear_faults, methods=["DELETE"]),
        Route(f"{PREFIX}/requests", desk.requests, methods=["GET"]),
        Route(f"{PREFIX}/requests", desk.clear_requests, methods=["DELETE"]),
        Route(f"{PREFIX}/clock", desk.advance_clock, methods=["POST"]),
        Route(f"{PREFIX}/urls/expire", desk.expire_urls, methods=["POST"]),
        Route(f"{PREFIX}/media", desk.add_media, methods=["POST"]),
        Route(f"{PREFIX}/sessions/{{username}}/expire", desk.expire_session, methods=["POST"]),
        Route(f"{PREFIX}/sessions/{{username}}/restore", desk.restore_session, methods=["POST"]),
    ]
    router = Router(routes, redirect_slashes=False)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_local(scope):
            await api_error(403, "local_only", "The sandbox is moved from its own machine only")(scope, receive, send)
            return
        try:
            await router(scope, receive, send)
        except (BadRequest, msgspec.DecodeError, ValueError) as problem:
            await api_error(400, "bad_request", str(problem))(scope, receive, send)
        except UnknownName as problem:
            await api_error(404, "not_found", str(problem))(scope, receive, send)

    return answer


def _is_local(scope: Scope) -> bool:
    client = scope.get("client")
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


class _Desk:
    """The endpoints."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def creators(self, _: Request) -> Response:
        known = [shelf.creator for shelf in self._sandbox.libraries.values()]
        return json_answer([{**msgspec.to_builtins(creator), "cookie": creator.cookie} for creator in known])

    async def faults(self, _: Request) -> Response:
        armed = self._sandbox.faults.armed()
        return json_answer([{**msgspec.to_builtins(each.fault), "hits": each.hits} for each in armed])

    async def add_fault(self, request: Request) -> Response:
        fault = msgspec.json.decode(await request.body(), type=Fault)
        self._sandbox.faults.add(fault)
        return json_answer(fault, 201)

    async def clear_faults(self, _: Request) -> Response:
        self._sandbox.faults.clear()
        return Response(status_code=204)

    async def requests(self, request: Request) -> Response:
        return json_answer(self._sandbox.log.records(request.query_params.get("path", "")))

    async def clear_requests(self, _: Request) -> Response:
        self._sandbox.log.clear()
        return Response(status_code=204)

    async def advance_clock(self, request: Request) -> Response:
        change = msgspec.json.decode(await request.body(), type=ClockChange)
        self._sandbox.advance(change.advance_seconds)
        return json_answer({"now": self._sandbox.now()})

    async def expire_urls(self, _: Request) -> Response:
        self._sandbox.expire_urls()
        return Response(status_code=204)

    async def add_media(self, request: Request) -> Response:
        new = msgspec.json.decode(await request.body(), type=NewMedia)
        item = self._sandbox.add_media(new.creator, type=new.type, size_bytes=new.size_bytes, seed=new.seed)
        path = item.renditions["full"].path
        url = self._sandbox.media_url(path, f"{request.url.scheme}://{request.url.netloc}")
        return json_answer({"id": item.id, "path": path, "url": url}, 201)

    async def expire_session(self, request: Request) -> Response:
        self._sandbox.expire_session(request.path_params["username"])
        return Response(status_code=204)

    async def restore_session(self, request: Request) -> Response:
        self._sandbox.restore_session(request.path_params["username"])
        return Response(status_code=204)
