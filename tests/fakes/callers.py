"""A caller of a vault that runs somewhere: its API by URL, its media by theirs."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from fakes.vaults import AURORA, KEY, until
from mediavault.platform.creators import USER_AGENT


@dataclass
class Caller:
    """An application that uses the vault."""

    http: aiohttp.ClientSession
    api: str
    connection: str = ""

    async def call(self, method: str, path: str, body: Any = None, key: str = KEY) -> tuple[int, Any]:
        """Status and JSON of one call."""
        headers = {"apiKey": key} | ({"x-connection-id": self.connection} if self.connection else {})
        async with self.http.request(method, self.api + path, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def ok(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = await self.call(method, path, body)
        assert status == 200, answer
        return answer

    async def connect(self) -> None:
        """Import the first sandbox creator's session; calls are about it from now on."""
        body = {"cookie": AURORA.cookie, "userAgent": USER_AGENT}
        self.connection = (await self.ok("POST", "/v2/account/connections/import", body))["id"]

    async def variant(self, media_id: int, label: str = "full") -> Any:
        return (await self.ok("GET", f"/v2/vault-plus/media/{media_id}"))["media"][label]

    async def see(self, media_id: int) -> Any:
        """Let the vault's list pass the gateway; the `full` variant of an item in it."""
        await self.ok("GET", "/v2/access/vault/media?limit=50")
        return await self.variant(media_id)

    async def view(self, url: str) -> bytes:
        async with self.http.get(url) as response:
            assert response.status == 200, await response.text()
            return await response.read()

    async def stored(self, media_id: int) -> Any:
        """The `full` variant once it is stored."""

        async def found() -> Any:
            variant = await self.variant(media_id)
            return variant if variant["status"] == "stored" else None

        return await until(found)


@contextlib.asynccontextmanager
async def caller(api: str) -> AsyncIterator[Caller]:
    """A caller without a connection."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        yield Caller(http, api)
