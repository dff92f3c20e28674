"""Short answers, and what every endpoint asks of a request."""

from collections.abc import Mapping

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope


class BadRequest(Exception):
    """What was asked cannot be right; the text says why."""


def header(scope: Scope, name: bytes) -> str | None:
    """The value of a header, its name in lower case; None where it is missing."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1")
    return None


def json_answer(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, "application/json")


def api_error(status: int, code: str, message: str) -> Response:
    """An error as this platform puts it; the shape is its own."""
    return json_answer({"error": {"code": code, "message": message}}, status)


def cdn_error(status: int, code: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error as CDNs put it."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>'
    return Response(text, status, headers, "application/xml")


async def client_leaves(receive: Receive) -> None:
    """Returns when the client has closed the connection. Only for requests whose body was read, or has none."""
    while (await receive())["type"] != "http.disconnect":
        pass
