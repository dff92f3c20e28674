"""What the endpoints share of reading a request: who asks, about which connection, with which body. In this order."""

import re
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mediavault.api.limits import VISIT, Visit
from mediavault.errors import BodyTooLarge, ConnectionRequired, InvalidRequest
from mediavault.vault.authorising import Authorising, Principal, Scope

T = TypeVar("T")

LARGEST_BODY = 1024 * 1024  #: bytes, of a JSON body
DEEPEST_BODY = 32  #: levels of a JSON body
LARGEST_FORWARDED_BODY = 16 * 1024 * 1024  #: bytes, of a body on its way upstream

_INTEGRAL_SEGMENT = re.compile(rb"(?<=/)(-?[0-9]{1,20})\.0+(?=/|\Z)")
_EXACT = 2**53  #: a larger float may stand for another integer than was written
_INTEGRAL_TEXT = re.compile(r"(-?[0-9]{1,20})\.0+", re.ASCII)
_INTEGRAL_VALUE = re.compile(rb"((?:\A|&)[^=&]*=-?[0-9]{1,20})\.0+(?=&|\Z)")


def with_integers(scope: Any) -> Any:
    """The scope with integral floats as integers in path and query: a published client sends `limit=20.0`."""
    raw_path, query = scope["raw_path"], scope["query_string"]
    if b".0" not in raw_path and b".0" not in query:
        return scope
    path = _INTEGRAL_SEGMENT.sub(rb"\1", scope["path"].encode("utf-8", "surrogateescape"))
    return {
        **scope,
        "raw_path": _INTEGRAL_SEGMENT.sub(rb"\1", raw_path),
        "path": path.decode("utf-8", "surrogateescape"),
        "query_string": _INTEGRAL_VALUE.sub(rb"\1", query),
    }


def integral_text(text: str) -> str:
    """The text of an integral float as that of its integer; any other as it is."""
    integral = _INTEGRAL_TEXT.fullmatch(text)
    return integral[1] if integral else text


def header(scope: Any, name: bytes) -> str | None:
    """A header that may stand once; twice is as good as none."""
    found = None
    for given, value in scope["headers"]:
        if given == name:
            if found is not None:
                return None
            found = value
    return None if found is None else found.decode("latin-1").strip(" \t")


async def principal(authorising: Authorising, scope: Any, wanted: Scope) -> Principal:
    """Who asks. Raises NotPermitted, TooManyRequests."""
    visit: Visit | None = scope.get(VISIT)
    caller = await authorising.principal(header(scope, b"apikey"), wanted, visit)
    if visit is not None:
        visit.authorised(caller)
    return caller


def connection_id(scope: Any) -> str:
    """The connection asked about, unchecked. Raises ConnectionRequired, TooManyRequests."""
    given = header(scope, b"x-connection-id")
    if not given:
        raise ConnectionRequired
    visit: Visit | None = scope.get(VISIT)
    if visit is not None:
        visit.about(given)
    return given


async def body(request: Request, limit: int = LARGEST_BODY) -> bytes:
    """The whole body. Raises BodyTooLarge before it is all read, TooManyRequests."""
    announced = request.headers.get("content-length", "0")
    if announced.isascii() and announced.isdigit() and int(announced[:19]) > limit:
        raise BodyTooLarge(f"The request body is larger than {limit} bytes")
    visit: Visit | None = request.scope.get(VISIT)
    content = bytearray()
    async for chunk in request.stream():
        if visit is not None:
            visit.hold(len(content), len(chunk))
        content += chunk
        if len(content) > limit:
            raise BodyTooLarge(f"The request body is larger than {limit} bytes")
    return bytes(content)


async def json_body(request: Request, kind: type[T]) -> T:
    """The body as JSON of that shape; a number may be an integral float. Raises InvalidRequest with the field."""
    content = await body(request)
    try:
        return msgspec.convert(_integral(msgspec.json.decode(content)), kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The body is not what this call takes: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest("The body is not valid JSON") from None


def _integral(value: Any, deeper: int = DEEPEST_BODY) -> Any:
    """JSON with its integral floats as integers. Raises InvalidRequest where it is nested too deep."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    if not isinstance(value, list | dict):
        return value
    if not deeper:
        raise InvalidRequest(f"The body is nested deeper than {DEEPEST_BODY} levels")
    if isinstance(value, list):
        return [_integral(each, deeper - 1) for each in value]
    return {name: _integral(each, deeper - 1) for name, each in value.items()}


def integer(request: Request, name: str, default: int, lowest: int, highest: int) -> int:
    """A whole number of the query. Raises InvalidRequest."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not lowest <= int(text) <= highest:
        raise InvalidRequest(f"{name} must be a whole number from {lowest} to {highest}")
    return int(text)


def json_response(content: Any, status: int = 200) -> Response:
    """A JSON answer. It holds signed URLs or facts of the moment: nobody keeps it."""
    headers = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")
