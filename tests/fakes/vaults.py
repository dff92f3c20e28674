"""A whole vault and its sandbox upstream, served on real ports in the test's own loop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from fakes.running import serving
from mediavault.assembly import milliseconds
from mediavault.cli import serving as vault_serving
from mediavault.config import Config, read_config
from mediavault.domain.times import Now
from mediavault.edge.cache import EdgeConfig
from mediavault.platform.application import application
from mediavault.platform.creators import USER_AGENT, creators
from mediavault.platform.sandbox import Sandbox
from mediavault.storer.store_variant import StoreConfig

KEY = "test-key-with-all-scopes-0123456789"
AURORA, CORAL, JUNIPER = creators()


@dataclass
class Answer:
    """An HTTP answer, read."""

    status: int
    headers: Any
    body: bytes
    json: Any


@dataclass
class RunningVault:
    """A served vault, and the callers' side of it."""

    served: vault_serving.Served
    sandbox: Sandbox
    platform_url: str
    http: aiohttp.ClientSession
    connections: dict[str, str] = field(default_factory=dict)

    @property
    def api_url(self) -> str:
        return str(self.served.api_url)

    @property
    def vault(self) -> Any:
        return self.served.vault

    async def ask(self, method: str, url: str, *, json: Any = None, data: Any = None, **headers: str) -> Answer:
        """One request to any URL; `x_connection_id=` becomes `x-connection-id`. No redirect is followed."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(
            method, url, json=json, data=data, headers=named, allow_redirects=False
        ) as response:
            body = await response.read()
            is_json = response.content_type == "application/json" and body
            return Answer(response.status, response.headers, body, await response.json() if is_json else None)

    async def call(
        self, method: str, path: str, *, key: str | None = KEY, connection: str | None = None, **more: Any
    ) -> Answer:
        """One call of the API."""
        headers = more.pop("headers", {})
        if key is not None:
            headers["apiKey"] = key
        if connection is not None:
            headers["x_connection_id"] = connection
        return await self.ask(method, self.api_url + path, **more, **headers)

    async def connect(self, creator: Any = AURORA, **more: Any) -> str:
        """Import a creator's session; the connection's id."""
        body = {"cookie": creator.cookie, "userAgent": USER_AGENT, **more}
        answer = await self.call("POST", "/v2/account/connections/import", json=body)
        assert answer.status == 200, answer.body
        self.connections[creator.username] = answer.json["id"]
        return str(answer.json["id"])

    async def see(self, connection: str, path: str = "/v2/access/vault/media?limit=100") -> Any:
        """Let an upstream answer pass the gateway; its JSON."""
        answer = await self.call("GET", path, connection=connection)
        assert answer.status == 200, answer.body
        return answer.json

    async def item(self, connection: str, media_id: int | str) -> Any:
        """An item that must be there."""
        answer = await self.call("GET", f"/v2/vault-plus/media/{media_id}", connection=connection)
        assert answer.status == 200, answer.body
        return answer.json

    async def add(self, connection: str, creator: Any = AURORA, **media: Any) -> tuple[Any, Any]:
        """A new media item upstream, seen through the gateway: `(the sandbox's item, the vault's item)`."""
        added = self.sandbox.add_media(creator.username, **media)
        await self.see(connection, "/v2/access/vault/media?limit=1")
        return added, await self.item(connection, added.id)

    async def until_stored(self, connection: str, media_id: int | str, label: str = "full") -> Any:
        """The item once that variant is stored."""

        async def stored() -> Any:
            item = await self.item(connection, media_id)
            return item if item["media"][label]["status"] == "stored" else None

        return await until(stored)


async def until(found: Callable[[], Awaitable[Any]], seconds: float = 20) -> Any:
    """What `found` gives once it gives something. Fails after `seconds`."""
    async with asyncio.timeout(seconds):
        while not (result := await found()):  # noqa: ASYNC110 - it is another program whose state is awaited
            await asyncio.sleep(0.02)
        return result


def test_config(data: Path, platform_url: str, **changes: Any) -> Config:
    """A vault on free ports that may dial the sandbox, with small floors and quick retries."""
    config = read_config(
        {
            "MEDIAVAULT_ORIGIN_ALLOW": platform_url.removeprefix("http://"),
            "MEDIAVAULT_UPSTREAM_URL": platform_url,
            "MEDIAVAULT_BOOTSTRAP_API_KEY": KEY,
        },
        data=data,
        api_port=0,
        media_port=0,
        database_url=changes.pop("database_url", None),
    )
    defaults: dict[str, Any] = {
        "edge": EdgeConfig(capacity_bytes=1 << 30, free_floor_bytes=1 << 20),
        "store": StoreConfig(first_delay_ms=50, free_floor_bytes=1 << 20),
        "drain_seconds": 1,
    }
    return replace(config, **(defaults | changes))


test_config.__test__ = False  # type: ignore[attr-defined]  # a maker of configurations, no test


@contextlib.asynccontextmanager
async def running_vault(
    data: Path,
    *,
    sandbox: Sandbox | None = None,
    platform_url: str | None = None,
    now: Now = milliseconds,
    **changes: Any,
) -> AsyncIterator[RunningVault]:
    """A vault with its sandbox. With `platform_url` the caller serves the sandbox, so that the vault can restart."""
    sandbox = sandbox or Sandbox()
    async with contextlib.AsyncExitStack() as stack:
        if platform_url is None:
            platform_url = await stack.enter_async_context(serving(application(sandbox)))
        served = await vault_serving.start(test_config(data, platform_url, **changes), now)
        stack.push_async_callback(served.stop)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        yield RunningVault(served, sandbox, platform_url, http)


__all__ = ["AURORA", "CORAL", "JUNIPER", "KEY", "Answer", "RunningVault", "running_vault", "until"]
