"""`mediavault demo`: the vault's main job, from a creator's media to a stored item, over the real interfaces."""

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from mediavault.cli import serving
from mediavault.cli.servers import Running, bind, server, stop_signal, url_of
from mediavault.config import Config
from mediavault.data_folder import write_new
from mediavault.errors import VaultError
from mediavault.origin.addresses import AllowList
from mediavault.platform.application import application
from mediavault.platform.creators import USER_AGENT, creators
from mediavault.platform.sandbox import Sandbox
from mediavault.vault.authorising import DEFAULT_ORGANISATION, Authorising, Scope

_PATIENCE_SECONDS = 60


def run(config: Config, platform_port: int, *, stop_when_stored: bool) -> None:
    """Show it, then serve until Ctrl-C. Raises VaultError when something does not become stored."""
    asyncio.run(_demonstrate(config, platform_port, stop_when_stored=stop_when_stored))


async def _demonstrate(config: Config, platform_port: int, *, stop_when_stored: bool) -> None:
    stop = stop_signal()
    async with AsyncExitStack() as stack:
        platform_url = await _start_platform(platform_port, stack)
        _say(f"sandbox platform   {platform_url}")
        served = await serving.start(_with_platform(config, platform_url))
        stack.push_async_callback(served.stop)
        _say(f"vault API          {served.api_url}\nmedia host         {served.media_url}")
        key = await _key(config.data, served.vault.foundation.authorising, served.vault.foundation.first_key)
        async with aiohttp.ClientSession(headers={"apiKey": key}) as session:
            await _show(_Client(session, str(served.api_url)), config.data)
        if not stop_when_stored:
            _say("\nServing until Ctrl-C.")
            await stop.wait()


async def _start_platform(port: int, stack: AsyncExitStack) -> str:
    listener = bind("127.0.0.1", port)
    running = Running([(server(application(Sandbox()), drain_seconds=1), listener)])
    await running.started()
    stack.push_async_callback(running.stop)
    return url_of(listener)


def _with_platform(config: Config, platform_url: str) -> Config:
    """The sandbox lives on loopback, which a vault dials only when told to."""
    sandbox = AllowList.parse(platform_url.removeprefix("http://"))
    allow = config.client.allow
    allowed = replace(allow, endpoints=allow.endpoints | sandbox.endpoints)
    return replace(config, upstream_url=platform_url, client=replace(config.client, allow=allowed), drain_seconds=1)


async def _key(data: Path, authorising: Authorising, first_key: Any) -> str:
    """The demo's API key: in the data folder, so that the next run finds it."""
    path = data / "demo.key"
    if path.exists():
        return path.read_text().strip()
    made = first_key or await authorising.create_key(DEFAULT_ORGANISATION, list(Scope), name="demo")
    write_new(path, made.secret + "\n")
    return str(made.secret)


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


async def _show(client: _Client, data: Path) -> None:
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
    items = [await _stored(client, str(media["id"]), of_connection) for media in chosen]
    _print_result(client, items, connection["id"], data)


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
