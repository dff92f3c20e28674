"""Many items with real, small blobs and sealed secrets, all promises kept: what `verify` must find nothing in.

The rows are those of benchmarks/fill_catalog.py, given bytes and secrets. And a way to write to the catalog what its
constraints would refuse: damage.
"""

import asyncio
import hashlib
import importlib.util
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from mediavault.blobs.disk import DiskBlobs
from mediavault.catalog import organisations
from mediavault.catalog.database import Catalog, CatalogConfig, open_catalog, sqlite_path
from mediavault.catalog.identifiers import new_id
from mediavault.catalog.sqlite import driver
from mediavault.domain.times import DAY
from mediavault.vault import origin_urls
from mediavault.vault.connecting import session_place
from mediavault.vault.sealing import Sealer

_SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fill_catalog.py"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("fill_catalog", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fill_catalog"] = module
    spec.loader.exec_module(module)
    return module


fill_catalog = _load()
#: When it is verified: leases were just taken, and nothing is past anything.
NOW = fill_catalog.BEGIN + 30 * DAY
#: The wall is far ahead of that: staging files made now are old in the eyes of this store.
_WALL_AHEAD = 4 * DAY


@dataclass
class CleanVault:
    """A catalog and a folder of blobs."""

    url: str
    catalog: Catalog
    root: Path
    blobs: DiskBlobs
    sealer: Sealer
    org_id: str
    connections: list[str] = field(default_factory=list)
    variants: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  #: by status
    media: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(self, status: str) -> dict[str, Any]:
        """A variant in that status that nobody else took; nor any other variant of its media item."""
        variant = self.variants[status].pop()
        for rest in self.variants.values():
            rest[:] = [each for each in rest if each["media_pk"] != variant["media_pk"]]
        return variant

    def path(self, blob_id: str) -> Path:
        """Where a blob lies."""
        return self.root / self.org_id / blob_id[-2:] / blob_id

    def sealed_url(self, variant: dict[str, Any], **changes: str) -> bytes:
        """An origin URL sealed for the variant's place."""
        at = variant | {"media_id": self.media[variant["media_pk"]]["media_id"]} | changes
        place = origin_urls.place(at["org_id"], at["connection_id"], at["media_id"], at["label"])
        return self.sealer.seal(b"http://127.0.0.1:1/x.jpg", place)

    def sealed_session(self, org_id: str, user: str) -> bytes:
        """A session sealed for its connection's place."""
        return self.sealer.seal(b"session", session_place(org_id, "http://127.0.0.1:1", user))


async def clean_vault(url: str, folder: Path, variant_count: int, connection_count: int) -> CleanVault:
    """Make one."""
    catalog = await open_catalog(CatalogConfig(url))
    org_id = new_id(fill_catalog.BEGIN)
    await catalog.run(organisations.create, org_id, "clean", "{}", fill_catalog.BEGIN)
    root = folder / "blobs"
    blobs = DiskBlobs(root, now=lambda: _wall() + _WALL_AHEAD)
    vault = CleanVault(url, catalog, root, blobs, Sealer(b"k" * 32), org_id)
    chance = random.Random(7)
    for share in fill_catalog.shares(variant_count // fill_catalog.PER_MEDIA, connection_count):
        await add_connection(vault, share, chance)
    return vault


def _wall() -> int:
    return time.time_ns() // 1_000_000


async def add_connection(vault: CleanVault, share: Any, chance: random.Random) -> str:
    """A connection with its media."""
    connection_id: str = await fill_catalog.connect(vault.catalog, vault.org_id, share.number)
    vault.connections.append(connection_id)
    rows = fill_catalog.generated(
        {"org_id": vault.org_id, "connection_id": connection_id}, share, 0, share.media_count, chance
    )
    vault.media |= {item["id"]: item for item in rows.media}
    contents = {blob["id"]: f"the bytes of {blob['id']}".encode() for blob in rows.blobs if blob["state"] == "live"}
    for blob in rows.blobs:
        if blob["id"] in contents:
            content = contents[blob["id"]]
            blob |= {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    for variant in rows.variants:
        variant["origin_url"] = vault.sealed_url(variant)
        if variant["status"] == "stored":
            variant["size_bytes"] = len(contents[variant["blob_id"]])
        if variant["status"] == "storing":
            variant["lease_expires_at"] = NOW + 60_000
        vault.variants.setdefault(str(variant["status"]), []).append(variant)
    for blob_id, content in contents.items():
        path = vault.path(blob_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    await vault.catalog.run(fill_catalog.add, connection_id, rows)
    session = vault.sealed_session(vault.org_id, str(share.number))
    await write(vault.url, "UPDATE connections SET session = {0} WHERE id = {1}", session, connection_id)
    return connection_id


async def write(url: str, sql: str, *values: Any) -> None:
    """One statement that no constraint hinders; values at `{0}`, `{1}`, …."""
    path = sqlite_path(url)
    if path is not None:
        await asyncio.to_thread(_write_sqlite, path, sql.format(*(f"?{n + 1}" for n in range(len(values)))), values)
        return
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql.format(*(f"${n + 1}" for n in range(len(values)))), *values)
    finally:
        await connection.close()


def _write_sqlite(path: Path, sql: str, values: Any) -> None:
    db = driver.connect(str(path), isolation_level=None, timeout=10)
    try:
        db.execute("PRAGMA foreign_keys=OFF")
        db.execute("PRAGMA ignore_check_constraints=ON")
        db.execute(sql, values)
    finally:
        db.close()


async def drop_constraints(url: str) -> None:
    """Let any row be written. SQLite is told at every write instead."""
    if sqlite_path(url) is not None:
        return
    connection = await asyncpg.connect(url)
    try:
        for table, name in await connection.fetch(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint "
            "WHERE contype IN ('c', 'f') AND connamespace = 'public'::regnamespace"
        ):
            await connection.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
    finally:
        await connection.close()
