"""The vault of a run: one process, started as a user would, its media taken in through the gateway."""

import http.client
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from mediavault.bench.load import Target
from mediavault.bench.objects import Group
from mediavault.bench.processes import Child, child
from mediavault.errors import VaultError

_SESSION = {"cookie": "sess=bench", "userAgent": "mediavault bench"}
_PAGE_OBJECTS = 250
_PATIENCE_SECONDS = 120


class Vault:
    """A running vault with one connection."""

    name = "vault"

    def __init__(self, process: Child, api_url: str, key: str) -> None:
        self.process = process
        self._api = urlsplit(api_url)
        self._key = key
        self._connection_id = ""
        self._urls: dict[int, str] = {}  #: by media id, as the gateway's answer had them

    def connect(self) -> None:
        """Import the session that everything is seen with."""
        self._connection_id = self._call("POST", "/v2/account/connections/import", _SESSION)["id"]

    def see(self, group: Group, count: int) -> None:
        """Let `count` objects of a group pass the gateway, which gives each a signed URL."""
        shelf = "vault/media" if group.stored else "posts"
        for first in range(0, count, _PAGE_OBJECTS):
            asked = f"group={group.name}&first={first}&count={min(_PAGE_OBJECTS, count - first)}"
            page = self._call("GET", f"/v2/access/{shelf}?{asked}")
            self._urls |= {media["id"]: media["files"]["full"]["url"] for media in page["list"]}

    def store(self, group: Group, count: int) -> None:
        """View every variant of `count` objects once, and wait until all are stored."""
        for number in range(count):
            for variant in self.item(group, number)["media"].values():
                _read(_target(variant["url"]))
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for number in range(count):
            while waiting := self._not_stored(group, number):
                self.process.check()
                if time.monotonic() > deadline:
                    raise VaultError(f"{group.name} is not stored after {_PATIENCE_SECONDS} s: {waiting}")
                time.sleep(0.05)

    def _not_stored(self, group: Group, number: int) -> dict[str, str]:
        variants = self.item(group, number)["media"]
        return {label: each["status"] for label, each in variants.items() if each["status"] != "stored"}

    def item(self, group: Group, number: int) -> Any:
        """The item's JSON."""
        return self._call("GET", f"/v2/vault-plus/media/{group.media_id(number)}")

    def item_target(self, group: Group, number: int) -> Target:
        """The item endpoint, with the key and the connection in the headers."""
        path = f"/v2/vault-plus/media/{group.media_id(number)}"
        return Target(str(self._api.hostname), int(self._api.port or 80), path, headers=tuple(self._headers().items()))

    def hot(self, group: Group, number: int = 0) -> Target:
        """A stored object under its signed URL."""
        return _target(self._urls[group.media_id(number)])

    def cold(self, group: Group, number: int) -> Target:
        """An object that nobody asked for yet."""
        return _target(self._urls[group.media_id(number)])

    def _headers(self) -> dict[str, str]:
        return {"apiKey": self._key} | ({"x-connection-id": self._connection_id} if self._connection_id else {})

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        """One call of the API; its JSON. Raises VaultError with what it said."""
        connection = http.client.HTTPConnection(str(self._api.hostname), self._api.port, timeout=_PATIENCE_SECONDS)
        headers = self._headers() | {"Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else msgspec.json.encode(body), headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise VaultError(f"the vault answered {answer.status} to {method} {path}: {content[:200].decode()}")
        return msgspec.json.decode(content)


def _target(url: str) -> Target:
    parts = urlsplit(url)
    return Target(str(parts.hostname), int(parts.port or 80), parts.path)


def _read(target: Target) -> None:
    connection = http.client.HTTPConnection(target.host, target.port, timeout=_PATIENCE_SECONDS)
    try:
        connection.request("GET", target.path)
        answer = connection.getresponse()
        while answer.read(1 << 20):
            pass
    finally:
        connection.close()
    if answer.status != 200:
        raise VaultError(f"the vault answered {answer.status} to the first view of a media URL")


@contextmanager
def running(folder: Path, origin_url: str, *, core: int) -> Iterator[Vault]:
    """`mediavault serve` on a fresh data folder with its defaults, until the end of the block."""
    key = f"bench-{secrets.token_hex(16)}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDIAVAULT_")}
    environment |= {
        "MEDIAVAULT_BOOTSTRAP_API_KEY": key,
        "MEDIAVAULT_UPSTREAM_URL": origin_url,
        "MEDIAVAULT_ORIGIN_ALLOW": origin_url.removeprefix("http://"),
        "MEDIAVAULT_DRAIN_SECONDS": "1",
    }
    command = [sys.executable, "-m", "mediavault", "serve", "--data", str(folder / "data")]
    command += ["--api-port", "0", "--media-port", "0"]
    with child("vault", command, core=core, folder=folder, env=environment) as process:
        vault = Vault(process, process.ready()["api"], key)
        vault.connect()
        yield vault
