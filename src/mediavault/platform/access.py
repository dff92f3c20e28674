"""The Access API: a creator's account, vault, posts, messages and stories, as JSON."""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from mediavault.platform import shapes
from mediavault.platform.answers import BadRequest, api_error, header, json_answer
from mediavault.platform.creators import session_of
from mediavault.platform.library import Library, MediaItem, Publication
from mediavault.platform.sandbox import Sandbox

PREFIX = "/v2/access"
#: The same content under each of them; the longest first, since the first that matches answers.
_PREFIXES = (f"{PREFIX}/proxy/api2/v2", f"{PREFIX}/proxy", PREFIX)
_DEFAULT_LIMIT, _LARGEST_LIMIT = 10, 100
_NUMBER = re.compile(r"[0-9]{1,9}")
_Any = TypeVar("_Any")


def access_api(sandbox: Sandbox) -> ASGIApp:
    """The application below /v2/access. Every request needs a session cookie and a user agent."""
    pages = _Pages(sandbox)
    routes = [
        Route("/self", pages.account),
        Route("/users/me", pages.account),
        Route("/vault/lists", pages.vault_lists),
        Route("/vault/lists/{list_id:int}/media", pages.list_media),
        Route("/vault/media", pages.vault_media),
        Route("/posts", pages.posts, methods=["GET"]),
        Route("/messages", pages.messages, methods=["GET"]),
        Route("/chats/{chat_id:int}/messages", pages.messages, methods=["GET"]),
        Route("/stories", pages.stories, methods=["GET"]),
        *(
            Route(path, pages.echo, methods=["POST"])
            for path in ("/posts", "/messages", "/chats/{chat_id:int}/messages")
        ),
    ]
    router = Router(
        [Mount(prefix, Router(routes, redirect_slashes=False, default=_no_such_route)) for prefix in _PREFIXES],
        redirect_slashes=False,
        default=_no_such_route,
    )
    return _only_signed_in(router, sandbox)


def _only_signed_in(application: ASGIApp, sandbox: Sandbox) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if not (header(scope, b"user-agent") or "").strip():
            await api_error(401, "client_refused", "This client is not known")(scope, receive, send)
            return
        creator = sandbox.signed_in(session_of(header(scope, b"cookie") or ""))
        if creator is None:
            await api_error(401, "signed_out", "Please sign in")(scope, receive, send)
            return
        scope.setdefault("state", {})["library"] = sandbox.library(creator.username)
        try:
            await application(scope, receive, send)
        except BadRequest as problem:
            await api_error(400, "bad_request", str(problem))(scope, receive, send)

    return answer


async def _no_such_route(scope: Scope, receive: Receive, send: Send) -> None:
    await api_error(404, "not_found", "There is nothing here")(scope, receive, send)


class _Pages:
    """The endpoints."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def account(self, request: Request) -> Response:
        creator = _library(request).creator
        avatar = self._sandbox.avatar_url(creator, self._base_url(request))
        return json_answer(shapes.Account(creator.id, creator.username, creator.name, creator.about, avatar))

    async def vault_lists(self, request: Request) -> Response:
        lists, has_more = _page(request, _library(request).lists)
        return json_answer(shapes.Page([shapes.list_of_media(folder) for folder in lists], has_more))

    async def list_media(self, request: Request) -> Response:
        for folder in _library(request).lists:
            if folder.id == request.path_params["list_id"]:
                return self._media_page(request, folder.media)
        return api_error(404, "list_not_found", "There is no such list")

    async def vault_media(self, request: Request) -> Response:
        return self._media_page(request, _library(request).vault)

    async def posts(self, request: Request) -> Response:
        return self._publication_page(request, _library(request).posts)

    async def stories(self, request: Request) -> Response:
        return self._publication_page(request, _library(request).stories)

    async def messages(self, request: Request) -> Response:
        messages, chat = _library(request).messages, request.path_params.get("chat_id")
        if chat is None:
            return self._publication_page(request, messages)
        messages = [message for message in messages if message.chat_id == chat]
        if not messages:
            return api_error(404, "chat_not_found", "There is no such chat")
        return self._publication_page(request, messages)

    async def echo(self, request: Request) -> Response:
        """Answers what was posted with an id, and keeps nothing."""
        try:
            posted = msgspec.json.decode(await request.body(), type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise BadRequest(f"the body must be a JSON object: {error}") from None
        return json_answer({**posted, "id": self._sandbox.next_post_id()}, 201)

    def _media_page(self, request: Request, items: list[MediaItem]) -> Response:
        newest_first = sorted(items, key=lambda item: (item.created_at, item.id), reverse=True)
        shown, has_more = _page(request, newest_first)
        base_url = self._base_url(request)
        listed = [shapes.media(item, lambda path: self._sandbox.media_url(path, base_url)) for item in shown]
        return json_answer(shapes.Page(listed, has_more))

    def _publication_page(self, request: Request, publications: list[Publication]) -> Response:
        newest_first = sorted(publications, key=lambda publication: publication.created_at, reverse=True)
        shown, has_more = _page(request, newest_first)
        base_url = self._base_url(request)
        listed = [shapes.published(each, lambda path: self._sandbox.media_url(path, base_url)) for each in shown]
        return json_answer(shapes.Page(listed, has_more))

    def _base_url(self, request: Request) -> str:
        return (self._sandbox.base_url or f"{request.url.scheme}://{request.url.netloc}").rstrip("/")


def _library(request: Request) -> Library:
    found: Library = request.state.library
    return found


def _page(request: Request, everything: Sequence[_Any]) -> tuple[Sequence[_Any], bool]:
    """The part that `limit` and `offset` ask for, and whether there is more behind it."""
    limit = _number(request, "limit", _DEFAULT_LIMIT)
    offset = _number(request, "offset", 0)
    if not 1 <= limit <= _LARGEST_LIMIT:
        raise BadRequest(f"limit must be from 1 to {_LARGEST_LIMIT}")
    return everything[offset : offset + limit], offset + limit < len(everything)


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text):
        raise BadRequest(f"{name} must be a whole number")
    return int(text)
