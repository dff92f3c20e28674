"""A client of the sandbox platform."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from fakes.running import serving
from mediavault.platform.application import application
from mediavault.platform.creators import USER_AGENT, Creator, creators
from mediavault.platform.sandbox import Sandbox

ACCESS = "/v2/access"
AURORA, CORAL, JUNIPER = creators()


class Visitor:
    """A client of a running sandbox."""

    def __init__(self, base_url: str, session: aiohttp.ClientSession) -> None:
        self.base_url, self.session = base_url, session

    async def ask(
        self, path: str, *, creator: Creator | None = AURORA, method: str = "GET", **kwargs: Any
    ) -> tuple[int, Any]:
        """Status and JSON of the Access API."""
        headers = {"cookie": creator.cookie, "user-agent": USER_AGENT} if creator else {}
        async with self.session.request(method, self.base_url + path, headers=headers, **kwargs) as answer:
            return answer.status, await answer.json(content_type=None)

    async def fetch(self, url: str, *, method: str = "GET", **headers: str) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and bytes of the media host."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, url, headers=named, allow_redirects=False) as answer:
            return answer.status, answer.headers, await answer.read()

    async def media(self, creator: Creator = AURORA) -> list[Any]:
        """The creator's vault."""
        _, page = await self.ask(f"{ACCESS}/vault/media?limit=100", creator=creator)
        listed: list[Any] = page["list"]
        return listed

    async def control(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and JSON of a handle of the sandbox."""
        async with self.session.request(method, f"{self.base_url}/_sandbox/{path}", json=body) as answer:
            return answer.status, await answer.json() if answer.content_type == "application/json" else None


@contextlib.asynccontextmanager
async def visiting(sandbox: Sandbox) -> AsyncIterator[Visitor]:
    """A visitor of this sandbox while it is served."""
    async with serving(application(sandbox)) as base_url, aiohttp.ClientSession() as session:
        yield Visitor(base_url, session)


def urls(media: Any) -> list[str]:
    """Every URL of a media object, wherever it stands."""
    files = [file for file in media["files"].values() if file]
    found = [file["url"] for file in files] + [source["url"] for file in files for source in file["sources"]]
    return [url for url in found + list(media["videoSources"].values()) if url]
