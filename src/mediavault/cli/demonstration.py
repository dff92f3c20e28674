"""`mediavault demo`: the vault's main job, from a creator's media to a stored item, over the real interfaces."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from mediavault.assembly import Foundation
from mediavault.cli import serving
from mediavault.cli.running import run as run_until_signalled
from mediavault.cli.servers import serving as serving_one
from mediavault.config import Config
from mediavault.data_folder import write_new
from mediavault.errors import NotPermitted, VaultError
from mediavault.origin.addresses import AllowList
from mediavault.platform.application import application
from mediavault.platform.creators import USER_AGENT, creators
from mediavault.platform.sandbox import Sandbox
from mediavault.vault.authorising import DEFAULT_ORGANISATION, Scope

_PATIENCE_SECONDS = 60


def run(config: Config, platform_port: int, *, stop_when_stored: bool) -> bool:
    """Show it, then serve until Ctrl-C; whether it came so far. Raises VaultError when something is not stored."""
    shown = False

    async def demonstrate() -> None:
        nonlocal shown
        async with _running(config, platform_port) as served:
            await _show(served)
            shown = True
            if not stop_when_stored:
                _say("\nServing until Ctrl-C.")
                await served.running.ended()

    run_until_signalled(demonstrate)
    return shown


@asynccontextmanager
async def _running(config: Config, platform_port: int) -> AsyncIterator[serving.Served]:
    """The sandbox platform and a vault that may dial it."""
    async with serving_one(application(Sandbox()), platform_port) as (platform_url, _):
        _say(f"sandbox platform   {platform_url}")
        served = await serving.start(_with_platform(config, platform_url))
        try:
            _say(f"vault API          {served.api_url}\nmedia host         {served.media_url}")
            yield served
        finally:
            await served.stop()


def _with_platform(config: Config, platform_url: str) -> Config:
    """The sandbox lives on loopback, which a vault dials only when told to."""
    sandbox = AllowList.parse(platform_url.removeprefix("http://"))
    allow = config.client.allow
    allowed = replace(allow, endpoints=allow.endpoints | sandbox.endpoints)
    return replace(config, upstream_url=platform_url, client=replace(config.client, allow=allowed), drain_seconds=1)


async def _key(data: Path, foundation: Foundation) -> str:
    """The demo's API key: in the data folder, so that the next run finds it."""
    path = data / "demo.key"
    if path.exists():
        kept = path.read_text().strip()
        try:
            await foundation.authorising.principal(kept, Scope.ACCOUNT)
        except NotPermitted:  # revoked, or of another catalog
            path.unlink()
        else:
            return kept
    made = foundation.first_key or await foundation.authorising.create_key(
        DEFAULT_ORGANISATION, list(Scope), name="demo"
    )
    write_new(path, made.secret + "\n")
    return made.secret


class _Client:
    """A caller of the API, as an application would be."""

    def __init__(self, session: aiohttp.ClientSession, api_url: str) -> None:
        self.session = session
        self.api_url = api_url

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """One call; its JSON. Raises VaultError with what the API said."""
        async with self.session.request(method, self.api_url + path, json=body, headers=headers) as response:
            answer = await response.json()
            if response.status >= 400:
                raise VaultError(f"{method} {path}: {response.status} {answer['message']}")
            return answer


async def _show(served: serving.Served) -> None:
    data = served.vault.config.data
    key = await _key(data, served.vault.foundation)
    async with aiohttp.ClientSession(headers={"apiKey": key}) as session:
        client = _Client(session, str(served.api_url))
        connection_id, items = await _stored_media(client)
        _print_result(client, items, connection_id, data)


async def _stored_media(client: _Client) -> tuple[str, list[Any]]:
    """A photo and a video on their way from the platform into the vault: the connection's id, and the items."""
    creator = creators()[0]
    session = {"cookie": creator.cookie, "userAgent": USER_AGENT}
    connection = await client.call("POST", "/v2/account/connections/import", session)
    of_connection = {"x-connection-id": connection["id"]}
    _say(f"connection         {connection['id']} ({connection['userData']['name']})")
    seen = await client.call("GET", "/v2/access/vault/media?limit=50", **of_connection)
    _say(f"media seen         {len(seen['list'])}, through the gateway")
    chosen = [_first(seen["list"], "photo"), _first(seen["list"], "video")]
    for media in chosen:
        await _view(client, str(media["id"]), of_connection)
    return connection["id"], [await _stored(client, str(media["id"]), of_connection) for media in chosen]


def _first(media: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(each for each in media if each["type"] == kind and each["files"]["full"]["url"])


async def _view(client: _Client, media_id: str, headers: dict[str, str]) -> None:
    """Look at every variant once: vault media are stored at their first view."""
    item = await client.call("GET", f"/v2/vault-plus/media/{media_id}", **headers)
    for label, variant in item["media"].items():
        async with client.session.get(variant["url"]) as response:
            size = len(await response.read())
            _say(f"viewed             {media_id} {label}: {response.status}, {size} bytes of {response.content_type}")


async def _stored(client: _Client, media_id: str, headers: dict[str, str]) -> Any:
    """The item once every variant is stored. Raises VaultError when that takes too long."""
    deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
    while True:
        item = await client.call("GET", f"/v2/vault-plus/media/{media_id}", **headers)
        waiting = {
            label: variant["status"] for label, variant in item["media"].items() if variant["status"] != "stored"
        }
        if not waiting:
            _say(f"stored             {item['type']} {media_id}: {', '.join(item['media'])}")
            return item
        if asyncio.get_running_loop().time() > deadline:
            raise VaultError(f"media {media_id} is not stored after {_PATIENCE_SECONDS} s: {waiting}")
        await asyncio.sleep(0.1)


def _print_result(client: _Client, items: list[Any], connection_id: str, data: Path) -> None:
    video = items[-1]
    print(msgspec.json.format(msgspec.json.encode(video), indent=2).decode())
    print("\nThe same, from another terminal:")
    print(
        f'curl -s -H "apiKey: $(cat {_quoted(data / "demo.key")})" -H "x-connection-id: {connection_id}" '
        f"{client.api_url}/v2/vault-plus/media/{video['id']}"
    )
    print("\nA signed URL of the media host, for a browser:")
    print(video["media"]["full"]["url"], flush=True)


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
