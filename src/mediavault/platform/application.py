"""The platform as one ASGI application."""

from starlette.types import ASGIApp, Receive, Scope, Send

from mediavault.platform import access, cdn, control
from mediavault.platform.answers import api_error
from mediavault.platform.misbehaviour import misbehaving
from mediavault.platform.request_log import logged
from mediavault.platform.sandbox import Sandbox


def application(sandbox: Sandbox) -> ASGIApp:
    """The Access API, the media host and the sandbox's handles; the first two can misbehave and are logged."""
    access_api, media_host, handles = access.access_api(sandbox), cdn.Cdn(sandbox), control.control(sandbox)

    async def behaving(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path.startswith(cdn.PREFIX):
            await media_host(scope, receive, send)
        elif path.startswith(f"{access.PREFIX}/"):
            await access_api(scope, receive, send)
        else:
            await api_error(404, "not_found", "There is nothing here")(scope, receive, send)

    public = logged(misbehaving(behaving, sandbox.faults), sandbox.log, sandbox.now)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await (handles if scope["path"].startswith(f"{control.PREFIX}/") else public)(scope, receive, send)

    return answer


async def _lifespan(receive: Receive, send: Send) -> None:
    """Nothing to start, nothing to stop."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
