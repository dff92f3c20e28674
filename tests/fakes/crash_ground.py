"""The ground that crash scenes are played on: a vault with something in every state, copied anew for each scene."""

import contextlib
import hashlib
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fakes import postgres
from fakes.catalog_rows import broken_invariants, rows
from fakes.crash_runs import copy_folder
from fakes.killable import moving_places
from fakes.running import serving
from fakes.s3_faulty import FaultyS3
from fakes.vaults import RunningVault, running_vault, until
from mediavault.assembly import milliseconds
from mediavault.blobs.places import url_of
from mediavault.catalog import leases
from mediavault.catalog.database import CatalogConfig, open_catalog
from mediavault.domain.times import DAY, HOUR
from mediavault.errors import NotFound
from mediavault.platform.application import application
from mediavault.platform.library import MediaItem
from mediavault.platform.sandbox import Sandbox
from mediavault.storer.sweeps import SweepConfig
from mediavault.storer.worker import WorkerConfig

SIZE = 40_000
#: Which item a scene takes from which status to which.
_MOVES = {"remove": ("stored", "stored", "removed"), "restore": ("removed", "removed", "stored")}
#: What happens to the one byte that the quarantine scene is to find.
_FLIPPED = 0


@dataclass
class Ground:
    """A vault that was stopped, and what a copy of it is checked against."""

    folder: Path
    sandbox: Sandbox
    platform_url: str
    server: str | None  #: the PostgreSQL server; None for SQLite
    database: str | None = None  #: the database as it was, a template
    media: dict[str, MediaItem] = field(default_factory=dict)  #: pending, stored, removed
    job: dict[str, Any] = field(default_factory=dict)
    copies: int = 0

    @contextlib.asynccontextmanager
    async def copy(self, scene: str) -> AsyncIterator["Copy"]:
        """A copy of the vault for one scene, gone afterwards."""
        self.copies += 1
        folder, database = self.folder.with_name(f"copy-{self.copies}"), None
        if scene != "first start":
            copy_folder(self.folder, folder)
        if self.server:
            template = "template0" if scene == "first start" else urlsplit(self.database or "").path[1:]
            database = await postgres.create_database(self.server, template=template)
        job = self.job | {"scene": scene, "data": str(folder), "database_url": database, "undo_window_ms": DAY}
        if scene == "remove":
            job["undo_window_ms"] = -1
        copy = Copy(self, folder, database, job)
        try:
            async with copy.prepared():
                yield copy
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if self.server and database:
                await postgres.drop_database(self.server, database)


@dataclass
class Copy:
    """A vault on which a scene is played."""

    ground: Ground
    folder: Path
    database: str | None
    job: dict[str, Any]
    bucket: FaultyS3 | None = None  #: in the scene that moves blobs to one

    @property
    def database_url(self) -> str:
        """Of the copy's catalog, on either engine."""
        return self.database or f"sqlite:///{self.folder / 'catalog.sqlite'}"

    @contextlib.asynccontextmanager
    async def prepared(self) -> AsyncIterator[None]:
        """With what the scene needs around it."""
        await self._spoil()
        if self.job["scene"] == "move":
            self.job["to"] = url_of(self.folder / "moved")
        if self.job["scene"] != "move to a bucket":
            yield
            return
        self.bucket = FaultyS3()
        async with self.bucket.served() as place:
            self.job |= {"bucket": place.endpoint, "to": url_of(place)}
            yield

    async def _spoil(self) -> None:
        """Spoil what the scene is to find spoilt."""
        scene = self.job["scene"]
        if scene == "quarantine":
            _flip(self._file(self.job["org_id"], self.job["damaged"]))
        if scene == "sweep":
            catalog = await open_catalog(CatalogConfig(self.database_url))
            claim = await catalog.run(leases.claim, "a storer that died", 1, milliseconds())
            await catalog.close()
            assert claim is not None
            dead = self._file(claim.org_id, claim.blob_id)
            dead.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            dead.write_bytes(b"written, and never settled")
            (self.folder / "blobs" / ".staging" / "left.behind").write_bytes(b"half")

    def _file(self, org_id: str, blob_id: str) -> Path:
        """Wherever it is of the two folders that a blob may be in."""
        paths = [self.folder / place / org_id / blob_id[-2:] / blob_id for place in ("moved", "blobs")]
        return next((path for path in paths if path.is_file()), paths[-1])

    def _read(self, org_id: str, blob_id: str) -> bytes:
        moved = self.bucket.objects.get(f"pre/{org_id}/{blob_id}") if self.bucket else None
        return self._file(org_id, blob_id).read_bytes() if moved is None else moved

    async def check_crashed(self) -> list[str]:
        """What is wrong before anything recovers: nothing may be half-visible at any moment."""
        catalog = await open_catalog(CatalogConfig(self.database_url))
        try:
            wrong = await broken_invariants(catalog)
            for blob in await rows(catalog, "blobs", state="live"):
                if self.job["scene"] != "quarantine" or blob["id"] != self.job["damaged"]:  # not known to be, yet
                    wrong += self._wrong_bytes(blob["org_id"], blob["id"], blob["sha256"])
            return wrong
        finally:
            await catalog.close()

    def _wrong_bytes(self, org_id: str, blob_id: str, sha256: str | None) -> list[str]:
        try:
            found = hashlib.sha256(self._read(org_id, blob_id)).hexdigest()
        except OSError as error:
            return [f"blob {blob_id}: {error}"]
        return [f"blob {blob_id} holds {found}"] if found != sha256 else []

    async def check_recovered(self, *, done: bool) -> list[str]:
        """What is wrong once the vault was started again and has come to rest; `done` if the scene came to its end."""
        scene, ground = self.job["scene"], self.ground
        sweep = SweepConfig(every_seconds=1000, undo_window_ms=self.job["undo_window_ms"])
        ahead = [0]
        async with running_vault(
            self.folder,
            sandbox=ground.sandbox,
            platform_url=ground.platform_url,
            now=lambda: milliseconds() + ahead[0],
            database_url=self.database,
            sweep=sweep,
            worker=WorkerConfig(look_every_seconds=0.02),
            **moving_places(self.folder, scene, self.job.get("bucket")),
        ) as vault:
            catalog, blobs = vault.vault.foundation.catalog, vault.vault.media.blobs
            if scene == "first start":
                connection = await vault.connect()
                media, item = await vault.add(connection, size_bytes=SIZE)
                assert (await vault.ask("POST", item["media"]["full"]["url"])).status == 202
                await vault.until_stored(connection, media.id)
            if scene == "quarantine":
                with suppress(NotFound):  # where the scene had not found it yet
                    await vault.vault.media.damaging.examine(self.job["damaged"])
            await until(lambda: _at_rest(catalog))
            wrong = []
            if "to" in self.job:
                turn = await vault.vault.moving.turn(self.job["to"], "", 60)
                wrong += [f"not moved: {turn.failed}"] if turn.left else []
                ahead[0] = 2 * HOUR  # dead movers' intents and old copies are past their time
            await vault.vault.sweeps.sweep()
            await vault.vault.media.damaging.set_aside()
            await blobs.sweep_staging(-1)
            wrong += await broken_invariants(catalog)
            wrong += await self._wrong_files(catalog)
            if scene != "first start":
                wrong += await self._wrong_views(vault, done)
            return wrong

    async def _wrong_files(self, catalog: Any) -> list[str]:
        """Files and live blobs are the same, byte for byte, and nothing else lies about."""
        live = await rows(catalog, "blobs")
        wrong = [f"blob {blob['id']} is {blob['state']} at rest" for blob in live if blob["state"] != "live"]
        for blob in live:
            wrong += self._wrong_bytes(blob["org_id"], blob["id"], blob["sha256"])
        found = Counter(
            str(path.relative_to(self.folder))
            for root in ("blobs", "moved")
            for path in (self.folder / root).rglob("*")
            if path.is_file() and ".quarantine" not in path.parts
        )
        if self.bucket:
            found.update(self.bucket.objects.keys())
            known = Counter(f"pre/{blob['org_id']}/{blob['id']}" for blob in live)
        else:
            root = "moved" if "to" in self.job else "blobs"
            known = Counter(f"{root}/{blob['org_id']}/{blob['id'][-2:]}/{blob['id']}" for blob in live)
        wrong += [f"an orphan: {name}" for name in found - known]
        wrong += [f"left in staging: {left.name}" for left in (self.folder / "edge" / "staging").iterdir()]
        return wrong

    async def _wrong_views(self, vault: RunningVault, done: bool) -> list[str]:
        """Every item has a status that its scene may end in, and is given whole or not at all."""
        wrong = []
        scene = self.job["scene"]
        allowed = {"pending": {"stored"}, "stored": {"stored"}, "removed": {"removed"}}
        if scene in _MOVES:
            name, before, after = _MOVES[scene]
            allowed[name] = {after} if done else {before, after}
        for name, media in self.ground.media.items():
            answer = await vault.call("GET", f"/v2/vault-plus/media/{media.id}", connection=self.job["connection"])
            status = answer.json["media"]["full"]["status"] if answer.status == 200 else "removed"
            if status not in allowed[name]:
                wrong.append(f"the {name} item is {status}")
            if status == "stored":
                viewed = await vault.ask("GET", answer.json["media"]["full"]["url"])
                if hashlib.sha256(viewed.body).hexdigest() != media.renditions["full"].content.sha256():
                    wrong.append(f"the {name} item is not given as it is ({viewed.status})")
        return wrong


async def _at_rest(catalog: Any) -> bool:
    return all(each["status"] not in {"pending", "storing", "damaged"} for each in await rows(catalog, "variants"))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[_FLIPPED] ^= 1
    path.write_bytes(content)


@contextlib.asynccontextmanager
async def prepared_ground(folder: Path, server: str | None) -> AsyncIterator[Ground]:
    """A vault that holds a stored, a removed and a pending item and the intent of a dead storer, stopped."""
    sandbox = Sandbox()
    async with serving(application(sandbox)) as platform_url:
        ground = Ground(folder / "ground", sandbox, platform_url, server)
        if server:
            ground.database = await postgres.create_database(server)
        try:
            await _fill(ground)
            yield ground
        finally:
            if server and ground.database:
                await postgres.drop_database(server, ground.database)


async def _fill(ground: Ground) -> None:
    kept: dict[str, Any] = {
        "sandbox": ground.sandbox, "platform_url": ground.platform_url, "database_url": ground.database,
        "sweep": SweepConfig(every_seconds=1000),
    }  # fmt: skip
    async with running_vault(ground.folder, **kept) as vault:
        connection = await vault.connect()
        for name in ("stored", "removed"):
            ground.media[name], item = await vault.add(connection, size_bytes=SIZE)
            assert (await vault.ask("POST", item["media"]["full"]["url"])).status == 202
            await vault.until_stored(connection, ground.media[name].id)
        path = f"/v2/vault-plus/media/{ground.media['removed'].id}"
        assert (await vault.call("DELETE", path, connection=connection)).status == 200
    async with running_vault(ground.folder, **kept, worker=WorkerConfig(stores_at_once=0)) as vault:
        catalog = vault.vault.foundation.catalog
        ground.media["pending"], item = await vault.add(connection, size_bytes=SIZE)
        assert (await vault.ask("POST", item["media"]["full"]["url"])).status == 202
        (stored,) = await rows(catalog, "variants", status="stored")
        ground.job = {
            "platform_url": ground.platform_url,
            "connection": connection,
            "org_id": stored["org_id"],
            "stored": str(ground.media["stored"].id),
            "removed": str(ground.media["removed"].id),
            "damaged": stored["blob_id"],
        }


__all__ = ["Copy", "Ground", "prepared_ground"]
