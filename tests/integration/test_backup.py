"""Backups: made beside a vault that works, checked, restored; the restored vault serves all that was in them."""

import asyncio
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from fakes.catalog_rows import broken_invariants, rows
from fakes.programs import environment, run
from fakes.running import serving
from fakes.vaults import running_vault, until
from mediavault.cli import backing_up, recovering
from mediavault.cli.backing_up import Wanted
from mediavault.errors import Conflict, WrongMasterKey
from mediavault.platform.application import application
from mediavault.platform.sandbox import Sandbox
from mediavault.storer.sweeps import SweepConfig
from mediavault.vault.portable.backup_folder import BackupFolder


async def stored_item(vault, connection, **media):
    """An item that is stored; `(the sandbox's, its digest)`."""
    added, item = await vault.add(connection, **media)
    await vault.ask("POST", item["media"]["full"]["url"])
    await vault.until_stored(connection, added.id)
    return added, added.renditions["full"].content.sha256()


async def served_digest(vault, connection, media_id):
    item = await vault.item(connection, media_id)
    assert item["media"]["full"]["status"] == "stored"
    answer = await vault.ask("GET", item["media"]["full"]["url"])
    assert answer.status == 200, answer.body
    return hashlib.sha256(answer.body).hexdigest()


def restoring(config, data, *, database_url=None):
    """The configuration of a vault that is to be restored."""
    catalog = config.catalog
    if catalog.url.startswith("sqlite"):
        catalog = replace(catalog, url=f"sqlite:///{data / 'catalog.sqlite'}")
    if database_url is not None:
        catalog = replace(catalog, url=database_url)
    return replace(config, data=data, blobs=data / "blobs", catalog=catalog)


@pytest.mark.slow
async def test_a_vault_that_was_backed_up_while_it_worked_is_restored_with_all_that_was_in_the_snapshot(
    tmp_path, database_url, postgres_database_if_needed
):
    """The drill: stores, removals and sweeps go on during the backup; the restored vault goes on from the snapshot."""
    data, new, sandbox = tmp_path / "data", tmp_path / "new", Sandbox()
    sweep = SweepConfig(every_seconds=0.05, undo_window_ms=0)
    async with serving(application(sandbox)) as platform_url:
        options: dict[str, Any] = {"sandbox": sandbox, "platform_url": platform_url, "sweep": sweep}
        async with running_vault(data, database_url=database_url, **options) as vault:
            connection = await vault.connect()
            before = {}
            for n in range(6):
                media, digest = await stored_item(vault, connection, size_bytes=30_000 + n)
                before[media.id] = digest
            item = await vault.item(connection, next(iter(before)))
            old_url = item["media"]["full"]["url"]
            stopping = asyncio.Event()

            async def churn():
                number = 0
                while not stopping.is_set():
                    number += 1
                    media, _ = await stored_item(vault, connection, size_bytes=10_000 + number)
                    await vault.call("DELETE", f"/v2/vault-plus/media/{media.id}", connection=connection)

            async with asyncio.TaskGroup() as group:
                churning = group.create_task(churn())
                snapshot, copied = await backing_up.create(vault.vault.config, tmp_path / "backups", Wanted())
                stopping.set()
                await churning
            assert copied.missing == {}
            assert copied.count >= len(before)
            for media_id in before:  # all of it goes, with its bytes, after the backup
                await vault.call("DELETE", f"/v2/vault-plus/media/{media_id}", connection=connection)
            config, key = vault.vault.config, (data / "master.key")
        found, looked = await recovering.check(tmp_path / "backups", "latest", deep=True)
        assert (found.name, looked.faults) == (snapshot.name, [])
        target = restoring(config, new, database_url=postgres_database_if_needed)
        done = await recovering.restore(target, tmp_path / "backups", "latest", key, disable_webhooks=False)
        assert done.looked.faults == []
        async with running_vault(new, database_url=target.catalog.url, **options) as vault:
            for media_id, digest in before.items():
                assert await served_digest(vault, connection, media_id) == digest
            token = old_url.rpartition("/")[2]  # signed before the backup, by the same master key
            answer = await vault.ask("GET", f"{vault.served.media_url}/v2/{token}")
            assert hashlib.sha256(answer.body).hexdigest() == next(iter(before.values()))
            media, digest = await stored_item(vault, connection, size_bytes=44_444)
            assert await served_digest(vault, connection, media.id) == digest
            assert await broken_invariants(vault.vault.foundation.catalog) == []


@pytest.fixture
def postgres_database_if_needed(request, database_url):
    """Another empty database, where the vault's own is on PostgreSQL."""
    return request.getfixturevalue("postgres_database") if database_url.startswith("postgres") else None


async def test_no_blob_is_deleted_while_a_backup_holds_them_and_all_are_afterwards(tmp_path):
    sweep = SweepConfig(every_seconds=0.02, undo_window_ms=0)
    async with running_vault(tmp_path / "data", sweep=sweep) as vault:
        connection = await vault.connect()
        media, _ = await stored_item(vault, connection)
        (path,) = (tmp_path / "data" / "blobs").glob("[!.]*/*/*")
        catalog = vault.vault.foundation.catalog
        async with backing_up.held(backing_up.HoldOperator(vault.vault.config)):
            await vault.call("DELETE", f"/v2/vault-plus/media/{media.id}", connection=connection)
            await until(lambda: rows(catalog, "blobs", state="doomed"))
            for _ in range(3):
                await vault.vault.sweeps.sweep()
            assert path.exists()
            assert await rows(catalog, "blobs", state="doomed")
        await vault.vault.sweeps.sweep()
        assert not path.exists()
        assert await rows(catalog, "blobs") == []


async def test_a_second_backup_copies_only_what_is_new_and_reads_the_rest_when_told(tmp_path):
    async with running_vault(tmp_path / "data") as vault:
        connection, config, to = await vault.connect(), vault.vault.config, tmp_path / "backups"
        for n in range(3):
            await stored_item(vault, connection, size_bytes=5_000 + n)
        _, first = await backing_up.create(config, to, Wanted())
        await stored_item(vault, connection, size_bytes=9_000)
        _, second = await backing_up.create(config, to, Wanted())
        assert (first.copied, first.present) == (3, 0)
        assert (second.copied, second.present) == (1, 3)
        spoiled = next(path for path in (to / "blobs").glob("[!.]*/*/*") if path.stat().st_size == 5_001)
        spoiled.write_bytes(b"x" * 5_001)
        _, looked = await recovering.check(to, "latest", deep=False)
        assert looked.faults == []
        _, looked = await recovering.check(to, "latest", deep=True)
        assert [fault.code for fault in looked.faults] == ["blob_bad"]
        _, third = await backing_up.create(config, to, Wanted(deep=True))
        assert (third.copied, third.present) == (1, 3)
        _, looked = await recovering.check(to, "latest", deep=True)
        assert looked.faults == []


async def test_the_latest_of_several_in_one_second_is_the_one_that_was_taken_last(tmp_path):
    folder = BackupFolder(tmp_path / "b")
    folder.open()
    names = [folder.end(folder.begin(1_767_312_000_999)).name for _ in range(12)]
    folder.close()
    assert folder.names() == names
    assert [name[:16] for name in names][:2] == ["20260102T000000Z", "20260102T000001Z"]


async def test_a_damaged_blob_is_told_and_is_not_in_the_backup(tmp_path):
    async with running_vault(tmp_path / "data") as vault:
        connection = await vault.connect()
        await stored_item(vault, connection, size_bytes=7_000)
        (path,) = (tmp_path / "data" / "blobs").glob("[!.]*/*/*")
        path.write_bytes(b"y" * 7_000)
        snapshot, copied = await backing_up.create(vault.vault.config, tmp_path / "b", Wanted())
        assert list(copied.missing) == [f"{path.parent.parent.name}/{path.name}"]
        assert snapshot.manifest.blobs.missing == copied.missing
        assert list((tmp_path / "b" / "blobs").glob("[!.]*/*/*")) == []


async def test_the_master_key_is_in_a_backup_only_where_it_was_asked_for(tmp_path):
    async with running_vault(tmp_path / "data") as vault:
        config, key = vault.vault.config, (tmp_path / "data" / "master.key").read_text()
        plain, _ = await backing_up.create(config, tmp_path / "b", Wanted())
        with_key, _ = await backing_up.create(config, tmp_path / "b", Wanted(master_key=True))
    everything = [path.read_bytes() for path in plain.folder.iterdir()]
    assert not any(key.strip().encode() in content or bytes.fromhex(key.strip()) in content for content in everything)
    kept = with_key.folder / "master.key"
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == (key, 0o600)
    assert with_key.manifest.master_key_included
    done = await recovering.restore(
        restoring(config, tmp_path / "new"), tmp_path / "b", with_key.name, None, disable_webhooks=False
    )
    assert done.has_master_key
    assert (tmp_path / "new" / "master.key").read_text() == key


async def test_a_folder_with_anything_in_it_is_not_restored_into(tmp_path):
    async with running_vault(tmp_path / "data") as vault:
        config = vault.vault.config
        await backing_up.create(config, tmp_path / "b", Wanted(master_key=True))
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").write_text("precious")
    with pytest.raises(Conflict, match="not empty"):
        await recovering.restore(
            restoring(config, tmp_path / "new"), tmp_path / "b", "latest", None, disable_webhooks=False
        )
    assert (tmp_path / "new" / "mine").read_text() == "precious"


@pytest.mark.slow
async def test_a_restore_with_the_wrong_master_key_is_refused_and_goes_on_with_the_right_one(tmp_path):
    async with running_vault(tmp_path / "data") as vault:
        config = vault.vault.config
        await backing_up.create(config, tmp_path / "b", Wanted())
    wrong, new = tmp_path / "wrong.key", restoring(config, tmp_path / "new")
    wrong.write_text("ab" * 32)
    with pytest.raises(WrongMasterKey):
        await recovering.restore(new, tmp_path / "b", "latest", wrong, disable_webhooks=False)
    ended = await run("serve", "--data", new.data, cwd=tmp_path, env=environment())
    assert (ended.code, "was cut short" in ended.err) == (2, True)
    right = tmp_path / "data" / "master.key"
    done = await recovering.restore(new, tmp_path / "b", "latest", right, disable_webhooks=False)
    assert done.has_master_key


@pytest.mark.slow
async def test_a_spoiled_catalog_is_found_and_not_restored(tmp_path):
    async with running_vault(tmp_path / "data") as vault:
        config = vault.vault.config
        snapshot, _ = await backing_up.create(config, tmp_path / "b", Wanted(master_key=True))
    content = bytearray(snapshot.catalog.read_bytes())
    content[5000] ^= 1
    snapshot.catalog.write_bytes(content)
    _, looked = await recovering.check(tmp_path / "b", "latest", deep=True)
    assert "catalog_changed" in [fault.code for fault in looked.faults]
    ended = await run(
        "backup", "restore", "--from", tmp_path / "b", "--data", tmp_path / "new", cwd=tmp_path, env=environment()
    )
    assert (ended.code, "spoiled" in ended.err) == (2, True)
    assert not (tmp_path / "new" / "catalog.sqlite").exists()


@pytest.mark.slow
async def test_the_commands_say_what_they_did_and_that_the_key_is_not_there(tmp_path):
    data, to = tmp_path / "data", tmp_path / "backups"
    async with running_vault(data) as vault:
        connection = await vault.connect()
        await stored_item(vault, connection, size_bytes=3_000)
        dry = await run("backup", "create", "--to", to, "--data", data, "--dry-run", cwd=tmp_path, env=environment())
        assert (dry.code, "1 blobs, 3000 bytes" in dry.out, to.exists()) == (0, True, False)
        made = await run("backup", "create", "--to", to, "--data", data, "--json", cwd=tmp_path, env=environment())
    assert (made.code, made.json["copied"], "MASTER KEY IS NOT IN THIS BACKUP" in made.err) == (0, 1, True)
    name = made.json["snapshot"]
    listed = await run("backup", "list", "--from", to, cwd=tmp_path, env=environment())
    assert (listed.code, listed.out.split()[0]) == (0, name)
    new = tmp_path / "new"
    done = await run("backup", "restore", "--from", to, "--data", new, cwd=tmp_path, env=environment())
    assert (done.code, "PUT THE VAULT'S master.key" in done.err) == (0, True)
    (new / "master.key").write_bytes((data / "master.key").read_bytes())
    (new / "master.key").chmod(0o600)
    clean = await run("verify", "--data", new, "--deep", "--json", cwd=tmp_path, env=environment())
    assert (clean.code, clean.json["report"]["blobs"]) == (0, 1), clean.err + clean.out
    spoiled = next((to / "blobs").glob("[!.]*/*/*"))
    spoiled.write_bytes(b"")
    checked = await run("backup", "verify", "--from", to, "--json", cwd=tmp_path, env=environment())
    assert (checked.code, json.loads(checked.out)["faults"][0]["code"]) == (9, "blob_bad")
