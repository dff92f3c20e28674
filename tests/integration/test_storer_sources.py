"""Where the storer takes the bytes from, in which order it works, and what it does without room."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from fakes.variants import Seen, see, view
from fakes.vaults import AURORA, CORAL, RunningVault, running_vault, until
from mediavault.edge.cache import EdgeConfig
from mediavault.platform.faults import Fault
from mediavault.storer.store_variant import StoreConfig
from mediavault.storer.worker import WorkerConfig


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]


def blobs(vault: RunningVault) -> list[Path]:
    return files(vault.vault.config.data / "blobs")


async def at_the_edge(vault: RunningVault, **media: Any) -> tuple[Seen, Path]:
    """An object the edge cache has, and its file; it is not queued: a HEAD is no view."""
    seen = await see(vault, await vault.connect(), **media)
    await vault.ask("HEAD", seen.url)
    await seen.until_idle()
    (copy,) = [path for path in files(vault.vault.config.data / "edge") if path.suffix != ".jsonl"]
    return seen, copy


async def test_an_edge_copy_becomes_the_blob_itself(vault):
    seen, copy = await at_the_edge(vault)
    inode = copy.stat().st_ino
    await vault.ask("POST", seen.url)
    row = await seen.until_status("stored")
    assert row.sha256 == seen.sha256
    await until(lambda: _gone(copy))
    (blob,) = blobs(vault)
    status = blob.stat()
    assert (status.st_ino, status.st_nlink, status.st_mode & 0o777) == (inode, 1, 0o600)
    assert await view(seen) == (200, seen.sha256)
    assert seen.fetches == 1


async def _gone(path: Path) -> bool:
    return not path.exists()


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("spoil", [_flip, Path.unlink, lambda path: os.truncate(path, 100)])
async def test_a_spoilt_edge_copy_is_not_stored_but_fetched_again(vault, spoil):
    seen, copy = await at_the_edge(vault)
    spoil(copy)
    await vault.ask("POST", seen.url)
    row = await seen.until_status("stored")
    assert (row.sha256, row.attempts) == (seen.sha256, 0)
    assert await view(seen) == (200, seen.sha256)
    assert (seen.fetches, len(blobs(vault))) == (2, 1)


async def test_an_object_larger_than_the_whole_edge_is_stored_with_one_fetch(tmp_path):
    small = EdgeConfig(capacity_bytes=100_000, free_floor_bytes=1 << 20)
    async with running_vault(tmp_path / "data", edge=small) as vault:
        connection = await vault.connect()
        seen = await see(vault, connection, size_bytes=1 << 20)
        vault.sandbox.faults.add(Fault(path=seen.path, bytes_per_second=2 << 20))
        assert await view(seen) == (200, seen.sha256)  # seen by policy on the way, and joined
        await seen.until_status("stored")
        asked_for = await see(vault, connection, size_bytes=1 << 20, seed=2)
        await vault.ask("POST", asked_for.url)
        await asked_for.until_status("stored")
        assert (seen.fetches, asked_for.fetches) == (1, 1)
        assert files(vault.vault.config.data / "edge" / "copies") == []


async def test_the_same_bytes_twice_are_kept_once(vault):
    connection = await vault.connect()
    twins = [await see(vault, connection, seed=7) for _ in range(2)]
    for twin in twins:
        await vault.ask("POST", twin.url)
    rows = [await twin.until_status("stored") for twin in twins]
    assert rows[0].blob_id == rows[1].blob_id
    await vault.vault.sweeps.sweep()
    assert len(blobs(vault)) == 1
    await vault.call("DELETE", f"/v2/vault-plus/media/{twins[0].media.id}", connection=connection)
    await vault.vault.sweeps.sweep()
    assert await view(twins[1]) == (200, twins[1].sha256)


async def test_connections_take_turns_and_what_expires_first_goes_first(tmp_path):
    async with running_vault(tmp_path / "data", worker=WorkerConfig(stores_at_once=1)) as vault:
        aurora, coral = await vault.connect(AURORA), await vault.connect(CORAL)
        blocker = await see(vault, aurora)
        armed = vault.sandbox.faults.add(Fault(path=blocker.path, stall_at=1000))
        await vault.ask("POST", blocker.url)
        await until(lambda: _fetched(blocker))
        by_connection = {}
        for connection, creator in ((aurora, AURORA), (coral, CORAL)):
            vault.sandbox.url_lifetime_seconds = 14_400
            late = await see(vault, connection, creator=creator)
            vault.sandbox.url_lifetime_seconds = 3_600
            soon = await see(vault, connection, creator=creator)
            by_connection[creator.username] = [soon, late]
            for seen in (late, soon):
                await vault.ask("POST", seen.url)
        armed.clear()
        for several in by_connection.values():
            for seen in several:
                await seen.until_status("stored")
        order = [record.path for record in vault.sandbox.log.records("/cdn/")][1:]
        (soon_a, late_a), (soon_c, late_c) = by_connection.values()
        assert [path.removeprefix("/cdn/") for path in order] == [soon_c.path, soon_a.path, late_c.path, late_a.path]


async def _fetched(seen: Seen) -> bool:
    return seen.fetches > 0


async def test_without_room_stores_wait_viewers_are_served_and_all_goes_on_afterwards(tmp_path, monkeypatch):
    room, statvfs = asyncio.Event(), os.statvfs

    class Full:
        """The same disk, with less than the floor left."""

        def __init__(self, real: os.statvfs_result) -> None:
            self._real = real

        def __getattr__(self, name: str) -> Any:
            return 1 if name in {"f_bavail", "f_bfree"} else getattr(self._real, name)

    monkeypatch.setattr(os, "statvfs", lambda path: statvfs(path) if room.is_set() else Full(statvfs(path)))
    async with running_vault(tmp_path / "data") as vault:
        seen = await see(vault, await vault.connect())
        assert await view(seen) == (200, seen.sha256)
        part = await vault.ask("GET", seen.url, Range="bytes=5-8")
        assert (part.status, len(part.body)) == (206, 4)
        assert files(vault.vault.config.data / "edge" / "copies") == []
        row = await seen.until_status("pending")
        await asyncio.sleep(0.6)  # the storer looks about every half second
        row = await seen.row()
        assert (row.status, row.attempts) == ("pending", 0)
        before = seen.fetches
        room.set()
        stored = await seen.until_status("stored")
        assert stored.sha256 == seen.sha256
        assert seen.fetches == before + 1


async def test_a_disk_that_fills_up_during_a_store_costs_no_attempt(tmp_path):
    floor = EdgeConfig(capacity_bytes=1 << 30, free_floor_bytes=1 << 60)  # the edge's disk is full, the blobs' is not
    patient = StoreConfig(first_delay_ms=50, most_attempts=2, no_room_delay_ms=20, free_floor_bytes=1 << 20)
    async with running_vault(tmp_path / "data", edge=floor, store=patient) as vault:
        seen = await see(vault, await vault.connect())
        await vault.ask("POST", seen.url)

        async def tried_often() -> bool:
            return seen.fetches >= 4

        await until(tried_often)
        row = await seen.row()
        assert (row.status in {"pending", "storing"}, row.attempts) == (True, 0)
        assert "floor" in (row.last_error or "")
