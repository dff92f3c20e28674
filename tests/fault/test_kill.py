"""kill -9 of a real process: what was being stored is stored after the restart, and nothing else is left."""

import asyncio
import hashlib
import random
import time
from pathlib import Path
from typing import Any

import pytest

from fakes.programs import serve_process
from fakes.running import serving
from fakes.vaults import RunningVault, running_vault, until
from mediavault.platform.application import application
from mediavault.platform.faults import Fault
from mediavault.platform.library import MediaItem
from mediavault.platform.sandbox import Sandbox
from mediavault.storer.sweeps import SweepConfig

MIB = 1 << 20


async def _full(vault: RunningVault, connection: str, media: MediaItem) -> Any:
    return (await vault.item(connection, media.id))["media"]["full"]


async def _until_status(vault: RunningVault, connection: str, media: MediaItem, *statuses: str) -> Any:
    async def reached() -> Any:
        full = await _full(vault, connection, media)
        return full if full["status"] in statuses else None

    return await until(reached)


def _digest(media: MediaItem) -> str:
    return media.renditions["full"].content.sha256()


async def _check_folder(
    data: Path, sandbox: Sandbox, platform_url: str, database_url: str | None, stored: list[MediaItem]
) -> None:
    """After a sweep without grace, the folder holds exactly the bytes of what is stored."""
    sweep = SweepConfig(every_seconds=1000, abandoned_after_seconds=-1)
    async with running_vault(
        data, sandbox=sandbox, platform_url=platform_url, database_url=database_url, sweep=sweep
    ) as vault:
        await vault.vault.sweeps.sweep()
        blobs = vault.vault.media.blobs
        found = [path for path in (data / "blobs").rglob("*") if path.is_file()]
        assert len(found) == len(stored), found
        digests = [(await blobs.measure(key)).sha256 for key in await _keys(blobs)]
        assert sorted(digests) == sorted(_digest(media) for media in stored)
        assert list((data / "edge" / "staging").iterdir()) == []


async def _keys(blobs: Any) -> list[Any]:
    return [key async for key in blobs.keys()]  # noqa: SIM118  # a store is no dict


@pytest.mark.slow
async def test_a_store_killed_in_its_middle_is_stored_after_the_restart(tmp_path, database_url):
    data, sandbox = tmp_path / "data", Sandbox()
    async with serving(application(sandbox)) as platform_url:
        async with serve_process(data, sandbox, platform_url, database_url=database_url) as (process, vault):
            connection = await vault.connect()
            media, item = await vault.add(connection, size_bytes=4 * MIB)
            path = media.renditions["full"].path
            armed = sandbox.faults.add(Fault(path=path, stall_at=2 * MIB))
            assert (await vault.ask("POST", item["media"]["full"]["url"])).status == 202
            await _until_status(vault, connection, media, "storing")

            async def half() -> bool:
                return any(record.bytes_sent >= 2 * MIB for record in sandbox.log.records(path))

            await until(half)
            await process.kill()
        armed.clear()
        slow = sandbox.faults.add(Fault(path=path, bytes_per_second=8 * MIB))
        async with serve_process(data, sandbox, platform_url, database_url=database_url) as (process, vault):
            ready_at = time.monotonic()
            await _until_status(vault, connection, media, "storing", "stored")
            assert time.monotonic() - ready_at < 5
            full = await _until_status(vault, connection, media, "stored")
            viewed = await vault.ask("GET", full["url"])
            assert hashlib.sha256(viewed.body).hexdigest() == _digest(media)
            assert len(sandbox.log.records(path)) == 2
            assert (await process.stop()).code == 0
        slow.clear()
        await _check_folder(data, sandbox, platform_url, database_url, [media])


@pytest.mark.slow
async def test_kills_at_any_moment_around_the_settlement_lose_and_leave_nothing(tmp_path):
    data, sandbox, chance = tmp_path / "data", Sandbox(), random.Random(20)
    every: list[MediaItem] = []
    async with serving(application(sandbox)) as platform_url:
        for _ in range(10):
            async with serve_process(data, sandbox, platform_url) as (process, vault):
                connection = await vault.connect()
                added = [await vault.add(connection, size_bytes=MIB, seed=len(every) + n) for n in range(4)]
                every += [media for media, _ in added]
                wishes = [vault.ask("POST", item["media"]["full"]["url"]) for _, item in added]
                wishing = asyncio.gather(*wishes, return_exceptions=True)
                await asyncio.sleep(chance.random() * 0.12)
                await process.kill()
                await wishing
        async with serve_process(data, sandbox, platform_url) as (process, vault):
            for media in every:
                full = await _full(vault, connection, media)
                if full["status"] == "edge_only":  # the wish was not heard
                    assert (await vault.ask("POST", full["url"])).status == 202
            for media in every:
                full = await _until_status(vault, connection, media, "stored")
                viewed = await vault.ask("GET", full["url"])
                assert hashlib.sha256(viewed.body).hexdigest() == _digest(media)
            assert (await process.stop()).code == 0
        await _check_folder(data, sandbox, platform_url, None, every)
