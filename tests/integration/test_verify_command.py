"""`mediavault verify` as its users run it: beside a vault that serves, or alone; its exit codes; its repair."""

import asyncio
import fcntl
import hashlib
import os
import shutil

import pytest

from fakes.programs import environment, run, serve_process
from fakes.running import serving
from fakes.vaults import running_vault
from mediavault.catalog.identifiers import new_id
from mediavault.platform.application import application
from mediavault.platform.sandbox import Sandbox


def blobs_of(data):
    return [path for path in (data / "blobs").rglob("*") if path.is_file() and ".quarantine" not in path.parts]


async def verify(data, *options, **settings):
    return await run("verify", "--data", data, *options, cwd=data.parent, env=environment(**settings))


async def kept(data, sandbox, platform_url, count=3):
    """A vault that has stored that many items and has stopped; its connection and the items."""
    async with running_vault(data, sandbox=sandbox, platform_url=platform_url) as vault:
        connection = await vault.connect()
        items = []
        for number in range(count):
            media, item = await vault.add(connection, size_bytes=50_000 + number)
            await vault.ask("POST", item["media"]["full"]["url"])
            await vault.until_stored(connection, media.id)
            items.append(media)
    shutil.rmtree(data / "edge")
    return connection, items


@pytest.mark.slow
async def test_a_vault_that_is_as_it_should_be_is_clean_and_nothing_of_it_changes(tmp_path):
    data, sandbox = tmp_path / "data", Sandbox()
    async with serving(application(sandbox)) as platform_url:
        await kept(data, sandbox, platform_url)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in data.rglob("*") if path.is_file()}
    for options in (("--quick",), ("--deep",)):
        ended = await verify(data, *options, "--json")
        assert (ended.code, ended.json["report"]["findings"]) == (0, []), ended.err
    after = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in data.rglob("*") if path.is_file()}
    assert {path for path in before if path.suffix not in {"-wal", "-shm"}} <= set(after)
    assert {path: after[path] for path in before} == before


@pytest.mark.slow
async def test_damage_is_repaired_without_a_running_vault_and_fetched_again_by_the_next(tmp_path):
    data, sandbox = tmp_path / "data", Sandbox()
    async with serving(application(sandbox)) as platform_url:
        connection, items = await kept(data, sandbox, platform_url)
        spoiled = blobs_of(data)[0]
        content = spoiled.read_bytes()
        spoiled.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        ended = await verify(data, "--deep")
        assert ended.code == 1
        assert f"blob={spoiled.name}" in ended.out
        assert "verify --repair --deep" in ended.out  # without --deep it would not be found again
        dry = await verify(data, "--deep", "--repair", "--dry-run", "--json")
        assert (dry.code, dry.json["repaired"], spoiled.exists()) == (1, [spoiled.name], True)
        ended = await verify(data, "--deep", "--repair", "--json")
        assert (ended.code, ended.json["repaired"]) == (1, [spoiled.name])
        assert not spoiled.exists()
        assert len(list((data / "blobs" / ".quarantine").iterdir())) == 1
        assert (await verify(data, "--deep")).code == 0
        async with running_vault(data, sandbox=sandbox, platform_url=platform_url) as vault:
            for media in items:
                item = await vault.until_stored(connection, media.id)
                answer = await vault.ask("GET", item["media"]["full"]["url"])
                assert hashlib.sha256(answer.body).hexdigest() == media.renditions["full"].content.sha256()


@pytest.mark.slow
async def test_an_orphan_is_set_aside_and_not_deleted(tmp_path):
    data, sandbox = tmp_path / "data", Sandbox()
    async with serving(application(sandbox)) as platform_url:
        await kept(data, sandbox, platform_url, 1)
    blob = blobs_of(data)[0]
    old_id = new_id(1_700_000_000_000)
    orphan = blob.parent.parent / old_id[-2:] / old_id
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"somebody's")
    ended = await verify(data, "--repair", "--json")
    assert [finding["code"] for finding in ended.json["report"]["findings"]] == ["orphan_blob"]
    (aside,) = (data / "blobs" / ".quarantine").iterdir()
    assert aside.read_bytes() == b"somebody's"
    assert blob.exists()
    assert (await verify(data)).code == 0


@pytest.mark.slow
async def test_beside_a_vault_under_load_nothing_is_found_and_its_damage_is_repaired_through_it(tmp_path, database_url):
    data, sandbox = tmp_path / "data", Sandbox()
    async with (
        serving(application(sandbox)) as platform_url,
        serve_process(data, sandbox, platform_url, database_url=database_url) as (process, vault),
    ):
        connection = await vault.connect()
        stopping = asyncio.Event()

        async def churn() -> None:
            """Observe, store, view, remove, restore."""
            number = 0
            while not stopping.is_set():
                number += 1
                media, item = await vault.add(connection, size_bytes=20_000 + number)
                url = item["media"]["full"]["url"]
                await vault.ask("POST", url)
                await vault.ask("GET", url)
                if number % 2:
                    await vault.call("DELETE", f"/v2/vault-plus/media/{media.id}", connection=connection)
                if number % 4 == 1:
                    await vault.call("POST", f"/v2/vault-plus/media/{media.id}/restore", connection=connection)

        async with asyncio.TaskGroup() as group:
            churning = group.create_task(churn())
            for _ in range(2):
                ended = await verify(data, "--deep", "--json", DATABASE_URL=database_url)
                assert (ended.code, ended.json["report"]["findings"]) == (0, []), ended.err + ended.out
                assert ended.json["report"]["served"]
            stopping.set()
            await churning
        media, item = await vault.add(connection, size_bytes=33_333)
        await vault.ask("POST", item["media"]["full"]["url"])
        await vault.until_stored(connection, media.id)
        (path,) = [path for path in blobs_of(data) if path.stat().st_size == 33_333]
        os.truncate(path, 7)
        ended = await verify(data, "--repair", "--json", DATABASE_URL=database_url)
        assert (ended.code, ended.json["repaired"]) == (1, [path.name]), ended.err + ended.out
        item = await vault.until_stored(connection, media.id)
        answer = await vault.ask("GET", item["media"]["full"]["url"])
        assert hashlib.sha256(answer.body).hexdigest() == media.renditions["full"].content.sha256()
        assert (await process.stop()).code == 0


@pytest.mark.slow
async def test_what_cannot_be_verified_ends_with_2_and_says_why(tmp_path):
    data = tmp_path / "data"
    ended = await verify(data, "--json")
    assert ended.code == 2
    assert "no data folder" in ended.err
    assert not data.exists()
    data.mkdir()
    assert (await verify(data)).code == 2
    assert list(data.iterdir()) == []
    assert (await verify(data, "--quick", "--deep")).code == 2
    assert (await verify(data, "--dry-run")).code == 2
    assert (await verify(data, "--subset", "4/3")).code == 2


async def test_a_store_that_is_not_mounted_cannot_be_verified(tmp_path):
    data, sandbox = tmp_path / "data", Sandbox()
    async with serving(application(sandbox)) as platform_url:
        await kept(data, sandbox, platform_url, 1)
    (data / "blobs").rename(data / "unmounted")
    ended = await verify(data, "--repair")
    assert ended.code == 2
    assert "mounted" in ended.err
    assert not (data / "blobs").exists()
    (data / "blobs").mkdir()
    (data / "unmounted" / ".staging").rmdir()


async def test_a_repair_while_another_command_holds_the_folder_ends_with_11(tmp_path):
    data, sandbox = tmp_path / "data", Sandbox()
    async with serving(application(sandbox)) as platform_url:
        await kept(data, sandbox, platform_url, 1)
    os.truncate(blobs_of(data)[0], 3)
    with (data / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = await verify(data, "--repair")
    assert ended.code == 11
    assert "holds" in ended.err
    assert blobs_of(data)[0].exists()
