"""A story of a vault in a process of its own, with its own clock and its own background work, that is killed at will.

What exactly it did when it died nobody knows: the model holds what was acknowledged, and allows both outcomes of what
was not. What it was told to keep it must have kept by the time it comes to rest.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from fakes.catalog_rows import broken_invariants
from fakes.programs import Program, environment, run, serve_process
from fakes.vault_model import Bytes, VariantModel
from fakes.vaults import AURORA, RunningVault, until
from fakes.viewing import Viewing
from mediavault.catalog.database import CatalogConfig, open_catalog
from mediavault.platform.library import MediaItem
from mediavault.platform.sandbox import Sandbox

LARGE = 1_500_000
_LOST = (aiohttp.ClientError, ConnectionError, TimeoutError)


@dataclass
class Known:
    """One media item with one variant, as far as anybody outside can know it."""

    item: MediaItem
    model: VariantModel
    is_live: bool | None = None  #: None where a kill leaves it open
    is_wished: bool = False  #: its store was acknowledged
    url: str = ""
    views: int = 0  #: that were begun, at most
    least_count: int = 0  #: that was shown


@dataclass
class KilledStory:
    """One vault over several lives of its process."""

    folder: Path
    sandbox: Sandbox
    platform_url: str
    http: aiohttp.ClientSession
    database_url: str | None
    bytes: Bytes = field(default_factory=Bytes)
    known: dict[str, Known] = field(default_factory=dict)
    connection: str = ""
    _life: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _process: Program | None = None
    _vault: RunningVault | None = None
    _media_url: str = ""

    @property
    def vault(self) -> RunningVault:
        assert self._vault is not None
        return self._vault

    async def begin(self) -> None:
        """The first start, and media of three sizes upstream."""
        shelf = self.sandbox.library(AURORA.username)
        shelf.vault.clear()
        await self.start()
        self.connection = await self.vault.connect()
        for name, size in (("small", 20_000), ("middle", 200_000), ("large", LARGE)):
            item = self.sandbox.add_media(AURORA.username, type="photo", size_bytes=size, seed=1)
            model = VariantModel(str(item.id), "full", "image", "", 0)
            self.known[name] = Known(item, model)
            self._published(item)
        await self.observe()

    async def start(self) -> None:
        """A process starts."""
        data = self.folder / "data"
        entering = serve_process(data, self.sandbox, self.platform_url, database_url=self.database_url)
        process, self._vault = await self._life.enter_async_context(entering)
        self._process, self._media_url = process, json.loads(process.lines[0])["media"]

    async def kill(self, *works: Awaitable[Any]) -> None:
        """kill -9 while these are under way, and another start."""
        under_way = [asyncio.ensure_future(work) for work in works]
        await asyncio.sleep(0)
        assert self._process is not None
        await self._process.kill()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._life.aclose()
        await self.start()

    async def stop(self) -> None:
        """SIGTERM."""
        assert self._process is not None
        assert (await self._process.stop()).code == 0
        await self._life.aclose()

    async def close(self) -> None:
        """Whatever it does now, it ends."""
        await self._life.aclose()

    # -- verbs; a lost answer leaves open what became of it --

    async def observe(self) -> None:
        """All that is upstream is live afterwards, and has a URL."""
        await self.vault.see(self.connection)
        for each in self.known.values():
            each.is_live = True
            shown = await self.vault.item(self.connection, each.item.id)
            each.url = shown["media"]["full"]["url"]

    async def ask_for(self, name: str) -> None:
        """POST to the media URL."""
        each = self.known[name]
        answer = await self._lossy(self.vault.ask("POST", self._current(each)))
        if answer is not None and answer.status == 202:
            assert each.is_live is not False
            each.is_live, each.is_wished = True, True
        elif answer is not None:
            assert answer.status == 404
            assert not each.is_live
            each.is_live = False

    async def delete(self, name: str) -> None:
        """Remove the item."""
        each = self.known[name]
        before, each.is_wished = each.is_live, False
        each.is_live = None
        path = f"/v2/vault-plus/media/{each.item.id}"
        answer = await self._lossy(self.vault.call("DELETE", path, connection=self.connection))
        if answer is not None:
            assert answer.status == 200 or (answer.status == 404 and not before)
            each.is_live = False

    async def restore(self, name: str) -> None:
        """Undo a removal, where there is one whose bytes are kept."""
        each = self.known[name]
        before = each.is_live
        path = f"/v2/vault-plus/media/{each.item.id}/restore"
        answer = await self._lossy(self.vault.call("POST", path, connection=self.connection))
        if answer is None:
            each.is_live = before or None
        elif answer.status == 200:
            each.is_live, each.is_wished = True, True
        else:
            assert answer.status == 404

    async def view(self, name: str, **headers: str) -> None:
        """A viewer: the whole of what the ETag names, an exact part of it, or a visible break."""
        each = self.known[name]
        before = each.is_live
        each.views += 1
        viewing = await Viewing(self.http, "GET", self._current(each), headers).ended()
        if viewing.status in {200, 206} and not viewing.broken:
            assert before is not False
            self.bytes.answered(each.model, viewing.status, viewing.headers, viewing.body)
        elif viewing.status is not None and not viewing.broken:
            assert viewing.status == 404
            assert not before

    def publish(self, name: str, size: int, seed: int) -> None:
        """Other bytes behind the same media id."""
        item = self.known[name].item
        self.sandbox.change_media(item.id, size_bytes=size, seed=seed)
        self._published(item)

    async def check(self) -> None:
        """What is shown now: the removed are not, counts do not fall, and a stored item says so of the whole of it."""
        for each in self.known.values():
            path = f"/v2/vault-plus/media/{each.item.id}"
            answer = await self.vault.call("GET", path, connection=self.connection)
            assert answer.status == 200 if each.is_live else answer.status == 404 or each.is_live is None
            each.is_live = answer.status == 200
            if each.is_live:
                shown = answer.json["media"]["full"]
                each.url = shown["url"]
                assert each.least_count <= shown["accessCount"] <= each.views
                each.least_count = shown["accessCount"]

    async def rest(self) -> None:
        """Once nothing is under way, everything that was wished for and not removed since is stored."""

        async def resting() -> bool:
            statuses = [await self._status(each) for each in self.known.values()]
            return all(status not in {"pending", "storing"} for status in statuses)

        await until(resting, 60)
        for name, each in self.known.items():
            if each.is_live and each.is_wished:
                assert await self._status(each) == "stored", name
                await self.view(name)

    async def end(self) -> None:
        """After a last rest and a stop, the folder keeps every promise by the command's own word."""
        await self.rest()
        await self.stop()
        settings = {} if self.database_url is None else {"DATABASE_URL": self.database_url}
        data = self.folder / "data"
        verified = await run("verify", "--deep", "--json", "--data", data, cwd=self.folder, env=environment(**settings))
        assert verified.code == 0, verified.out + verified.err
        url = self.database_url or f"sqlite:///{data / 'catalog.sqlite'}"
        catalog = await open_catalog(CatalogConfig(url))
        try:
            assert await broken_invariants(catalog) == []
        finally:
            await catalog.close()

    async def _status(self, each: Known) -> str:
        path = f"/v2/vault-plus/media/{each.item.id}"
        answer = await self.vault.call("GET", path, connection=self.connection)
        return str(answer.json["media"]["full"]["status"]) if answer.status == 200 else "removed"

    async def _lossy(self, call: Awaitable[Any]) -> Any:
        """The answer, or None where the process died before it came."""
        try:
            return await call
        except _LOST:
            return None

    def _current(self, each: Known) -> str:
        """Its URL on the port that this life of the vault has."""
        return self._media_url + urlsplit(each.url).path

    def _published(self, item: MediaItem) -> None:
        content = item.renditions["full"].content
        self.bytes.published(str(item.id), "full", content.read(0, content.size))
