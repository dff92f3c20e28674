"""The API document and its browser: `/openapi.json` and `/docs`, from the package alone, without a key."""

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import yaml
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mediavault.domain.conditions import Outcome, evaluate

_HERE = Path(__file__).parent
_MEDIA_HOST_PATH = "/v2/{token}"
_ASSETS = {
    "swagger-ui.css": (_HERE / "docs/swagger-ui/swagger-ui.css", "text/css; charset=utf-8"),
    "swagger-ui-bundle.js": (_HERE / "docs/swagger-ui/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    "initialize.js": (_HERE / "docs/initialize.js", "text/javascript; charset=utf-8"),
}
#: Under the digest of all assets: what is at such an address never changes.
_ASSETS_PREFIX = "/docs/assets/"
_A_YEAR = 31_536_000


class Documentation:
    """Serves the document, with this vault's own addresses in it."""

    def __init__(self, media_base_url: str | None) -> None:
        self._media_base_url = media_base_url
        self._document: bytes | None = None

    def routes(self) -> list[Route]:
        """In the order they are tried."""
        return [
            Route("/openapi.json", self.document, methods=["GET"]),
            Route("/docs", self.page, methods=["GET"]),
            Route(_ASSETS_PREFIX + "{digest}/{name}", self.asset, methods=["GET"]),
        ]

    async def document(self, request: Request) -> Response:
        """`GET /openapi.json`."""
        if self._document is None:
            self._document = msgspec.json.encode(_addressed(written(), self._media_base_url))
        return _conditional(request, self._document, "application/json", {"Cache-Control": "no-cache"})

    async def page(self, request: Request) -> Response:
        """`GET /docs`: asks for nothing outside of this vault, and could not."""
        headers = {
            "Cache-Control": "no-cache",
            "Content-Security-Policy": _content_security_policy(self._media_base_url),
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return _conditional(request, _page(), "text/html; charset=utf-8", headers)

    async def asset(self, request: Request) -> Response:
        """`GET /docs/assets/{digest}/{name}`."""
        name = request.path_params["name"]
        if name not in _ASSETS or request.path_params["digest"] != _assets_digest():
            raise HTTPException(404)
        headers = {"Cache-Control": f"public, max-age={_A_YEAR}, immutable", "X-Content-Type-Options": "nosniff"}
        return _conditional(request, _asset(name), _ASSETS[name][1], headers)


@cache
def written() -> Any:
    """The document as it is kept in the package. Not to be changed by whoever reads it."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same language, ten times as fast where it was built
    return yaml.load((_HERE / "openapi.yaml").read_bytes(), Loader=loader)  # noqa: S506 - both loaders are safe ones


def _addressed(document: Any, media_base_url: str | None) -> Any:
    """The document with the servers of this vault: the API is wherever the document came from."""
    servers = [{"url": "/", "description": "This vault's API."}]
    paths = dict(document["paths"])
    if media_base_url is not None:
        media_servers = [{"url": media_base_url, "description": "This vault's media host."}]
        paths[_MEDIA_HOST_PATH] = paths[_MEDIA_HOST_PATH] | {"servers": media_servers}
    return document | {"servers": servers, "paths": paths}


def _content_security_policy(media_base_url: str | None) -> str:
    """Swagger UI styles its elements inline and draws with data URLs; the rest comes from here."""
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            f"connect-src {' '.join(_connectable(media_base_url))}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _connectable(media_base_url: str | None) -> Iterator[str]:
    yield "'self'"
    if media_base_url is not None:  # its operations can be tried from the page
        parts = urlsplit(media_base_url)
        yield f"{parts.scheme}://{parts.netloc}"


def _conditional(request: Request, content: bytes, media_type: str, headers: dict[str, str]) -> Response:
    """The content, or 304 for who has it already."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    told = headers | {"ETag": etag}
    if evaluate(request.method, _conditions(request), etag, None) is Outcome.NOT_MODIFIED:
        return Response(status_code=304, headers=told)
    return Response(content, headers=told | {"Content-Type": media_type})


def _conditions(request: Request) -> dict[str, str]:
    """Only the one that is promised: no precondition fails here."""
    known = request.headers.getlist("if-none-match")
    return {"if-none-match": ", ".join(known)} if known else {}


@cache
def _page() -> bytes:
    page = (_HERE / "docs/index.html").read_text()
    return page.replace("/docs/assets/", f"{_ASSETS_PREFIX}{_assets_digest()}/").encode()


@cache
def _asset(name: str) -> bytes:
    return _ASSETS[name][0].read_bytes()


@cache
def _assets_digest() -> str:
    digests = [hashlib.sha256(_asset(name)).digest() for name in sorted(_ASSETS)]
    return hashlib.sha256(b"".join(digests)).hexdigest()[:16]
