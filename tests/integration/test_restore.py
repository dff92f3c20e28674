"""Restores that are cut short, go elsewhere, or are for a drill; and a backup that is cut short of its hold."""

import asyncio
import hashlib
import shutil
from dataclasses import replace

import pytest

from fakes.catalog_rows import broken_invariants, dump, rows
from fakes.programs import environment, program, run
from fakes.vaults import running_vault, until
from mediavault.catalog import holds
from mediavault.catalog.database import CatalogConfig, open_catalog
from mediavault.cli import backing_up, recovering
from mediavault.cli.backing_up import Wanted
from mediavault.errors import ConfigError, Conflict

MARKER = "restore.unfinished"


async def stored(vault, connection, **media):
    """An item that is stored; its id and digest."""
    added, item = await vault.add(connection, **media)
    await vault.ask("POST", item["media"]["full"]["url"])
    await vault.until_stored(connection, added.id)
    return added.id, added.renditions["full"].content.sha256()


async def served(vault, connection, media_id):
    """The digest of what is served."""
    item = await vault.item(connection, media_id)
    answer = await vault.ask("GET", item["media"]["full"]["url"])
    assert answer.status == 200, answer.body
    return hashlib.sha256(answer.body).hexdigest()


def to_folder(config, data, **changes):
    """The configuration of a vault that is restored to there."""
    catalog = replace(config.catalog, url=f"sqlite:///{data / 'catalog.sqlite'}")
    return replace(config, **{"data": data, "blobs": data / "blobs", "catalog": catalog} | changes)


def there(path):
    """Whether there is something like that."""

    async def found():
        return any(path.parent.glob(path.name))

    return found


@pytest.mark.slow
async def test_a_restore_that_is_killed_halfway_is_served_by_nobody_and_goes_on_when_repeated(tmp_path):
    async with running_vault(tmp_path / "data") as vault:
        connection = await vault.connect()
        kept = [await stored(vault, connection, size_bytes=3_000_000 + n) for n in range(6)]
        await backing_up.create(vault.vault.config, tmp_path / "b", Wanted(master_key=True))
        config = vault.vault.config
    new = tmp_path / "new"
    command = ("backup", "restore", "--from", tmp_path / "b", "--data", new, "--json")
    async with program(*command, cwd=tmp_path, env=environment()) as restoring:
        await until(there(new / MARKER))
        await restoring.kill()
    assert (new / MARKER).exists()
    for refused in (("serve",), ("verify",), ("import", tmp_path / "b", "--new", "--upstream", "http://127.0.0.1:1")):
        ended = await run(*refused, "--data", new, cwd=tmp_path, env=environment())
        assert ended.code == 2, (refused, ended.out, ended.err)
        assert "Traceback" not in ended.err
    other = await run("backup", "restore", "--from", tmp_path / "b", "--snapshot", "none", "--data", new, cwd=tmp_path)
    assert other.code == 5
    done = await run(*command, cwd=tmp_path, env=environment())
    assert (done.code, done.json["blobs"], done.json["faults"]) == (0, 6, []), done.err
    again = await run(*command, cwd=tmp_path, env=environment())
    assert (again.code, "not empty" in again.err) == (8, True)
    async with running_vault(new) as vault:
        assert await broken_invariants(vault.vault.foundation.catalog) == []
        found = {row["sha256"] for row in await rows(vault.vault.foundation.catalog, "blobs", state="live")}
        assert found == {digest for _, digest in kept}
        assert [await served(vault, connection, media_id) for media_id, _ in kept] == [digest for _, digest in kept]
    assert config.data != new


async def test_a_restore_whose_blobs_were_half_brought_goes_on_and_reads_those_that_are_there(tmp_path):
    """As a kill in the middle of the blobs leaves it: some are there, one of them is spoiled, the marker is too."""
    async with running_vault(tmp_path / "data") as vault:
        connection = await vault.connect()
        kept = [await stored(vault, connection, size_bytes=5_000 + n) for n in range(3)]
        config = vault.vault.config
        snapshot, _ = await backing_up.create(config, tmp_path / "b", Wanted(master_key=True))
    new = to_folder(config, tmp_path / "new")
    first = await recovering.restore(new, tmp_path / "b", "latest", None, disable_webhooks=False)
    assert first.looked.faults == []
    whole, spoiled, _ = sorted((tmp_path / "new" / "blobs").glob("[!.]*/*/*"))
    untouched = whole.stat().st_ino
    spoiled.write_bytes(b"w" * spoiled.stat().st_size)
    sorted((tmp_path / "new" / "blobs").glob("[!.]*/*/*"))[2].unlink()
    (tmp_path / "new" / MARKER).write_text(snapshot.name + "\n")
    again = await recovering.restore(new, tmp_path / "b", "latest", None, disable_webhooks=False)
    assert again.looked.faults == []
    assert whole.stat().st_ino == untouched
    async with running_vault(tmp_path / "new") as vault:
        assert [await served(vault, connection, media_id) for media_id, _ in kept] == [digest for _, digest in kept]


async def test_a_backup_of_sqlite_is_restored_to_postgresql_row_by_row(tmp_path, postgres_database):
    async with running_vault(tmp_path / "data") as vault:
        connection = await vault.connect()
        media_id, digest = await stored(vault, connection, size_bytes=6_000)
        await vault.call("PUT", f"/v2/vault-plus/media/{media_id}/pin", connection=connection, json={"reason": "ü🦊"})
        config = vault.vault.config
        snapshot, _ = await backing_up.create(config, tmp_path / "b", Wanted(master_key=True))
    new = to_folder(config, tmp_path / "new", catalog=replace(config.catalog, url=postgres_database))
    done = await recovering.restore(new, tmp_path / "b", "latest", None, disable_webhooks=False)
    assert done.looked.faults == []
    before, after = [await _dumped(url) for url in (f"sqlite:///{snapshot.catalog}", postgres_database)]
    facts = {(fact["name"], fact["content"]) for fact in before.pop("installation")}
    added = {(fact["name"], fact["content"]) for fact in after.pop("installation")}
    assert {name.partition(":")[0] for name, _ in facts - added} == {"backup_hold"}
    assert {name.partition(":")[0] for name, _ in added - facts} == {"restored"}
    for variant in before["variants"]:
        variant["fence"] += 1_000_000
    assert after == before
    async with running_vault(tmp_path / "new", database_url=postgres_database) as vault:
        assert await served(vault, connection, media_id) == digest
        assert await broken_invariants(vault.vault.foundation.catalog) == []
    await backing_up.create(config, tmp_path / "b", Wanted(master_key=True))
    elsewhere = replace(new, data=tmp_path / "other", blobs=tmp_path / "other" / "blobs")
    with pytest.raises(Conflict, match="has rows in"):
        await recovering.restore(elsewhere, tmp_path / "b", "latest", None, disable_webhooks=False)


async def _dumped(url):
    catalog = await open_catalog(CatalogConfig(url))
    try:
        return await dump(catalog)
    finally:
        await catalog.close()


async def test_a_snapshot_without_blobs_is_restored_beside_the_store_that_has_them_and_nowhere_else(tmp_path):
    async with running_vault(tmp_path / "data") as vault:
        connection = await vault.connect()
        media_id, digest = await stored(vault, connection, size_bytes=6_000)
        config = vault.vault.config
        snapshot, copied = await backing_up.create(config, tmp_path / "b", Wanted(blobs=False, master_key=True))
    assert (snapshot.manifest.blobs.included, copied.copied, copied.count) == (False, 0, 1)
    assert list((tmp_path / "b" / "blobs").glob("[!.]*/*/*")) == []
    _, looked = await recovering.check(tmp_path / "b", "latest", deep=True)
    assert looked.faults == []
    new = to_folder(config, tmp_path / "new")
    with pytest.raises(ConfigError, match="taken without blobs"):
        await recovering.restore(new, tmp_path / "b", "latest", None, disable_webhooks=False)
    assert (tmp_path / "new" / MARKER).exists()
    shutil.rmtree(tmp_path / "new" / "blobs", ignore_errors=True)
    (tmp_path / "data" / "blobs").rename(tmp_path / "new" / "blobs")
    done = await recovering.restore(new, tmp_path / "b", "latest", None, disable_webhooks=False)
    assert done.looked.faults == []
    async with running_vault(tmp_path / "new") as vault:
        assert await served(vault, connection, media_id) == digest


@pytest.mark.parametrize("quiet", [True, False])
async def test_a_drill_beside_the_real_vault_tells_no_receiver_anything(tmp_path, quiet):
    async with running_vault(tmp_path / "data") as vault:
        made = await vault.call("POST", "/v2/webhooks/endpoints", json={"url": f"{vault.platform_url}/hook"})
        assert made.status in {200, 201}, made.body
        config = vault.vault.config
        await backing_up.create(config, tmp_path / "b", Wanted(master_key=True))
    new = to_folder(config, tmp_path / "new")
    await recovering.restore(new, tmp_path / "b", "latest", None, disable_webhooks=quiet)
    (endpoint,) = (await _dumped(new.catalog.url))["webhook_endpoints"]
    assert endpoint["state"] == ("disabled" if quiet else "enabled")
    assert ("restored from a backup" in (endpoint["disabled_reason"] or "")) == quiet


async def test_a_backup_that_lost_its_hold_ends_with_an_error_and_names_no_snapshot(tmp_path):
    async with running_vault(tmp_path / "data") as vault:
        connection = await vault.connect()
        await stored(vault, connection, size_bytes=6_000)
        catalog, config = vault.vault.foundation.catalog, vault.vault.config

        async def let_go():
            while True:  # as if each hold had ended: the machine slept
                await catalog.run(holds.release_all)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            letting_go = group.create_task(let_go())
            with pytest.raises(Conflict, match="lost its hold"):
                await backing_up.create(config, tmp_path / "b", Wanted())
            letting_go.cancel()
        snapshots = list((tmp_path / "b" / "snapshots").iterdir())
        assert all(path.name.startswith(".") for path in snapshots)
        assert not [path for path in snapshots if (path / "manifest.json").exists()]
        ended, _ = await backing_up.create(config, tmp_path / "b", Wanted())
        assert [path.name for path in (tmp_path / "b" / "snapshots").iterdir()] == [ended.name]


async def test_a_hold_that_cannot_be_renewed_ends_the_backup_in_its_middle(tmp_path):
    async with running_vault(tmp_path / "data") as vault:
        operator = backing_up.HoldOperator(vault.vault.config)
        catalog = vault.vault.foundation.catalog

        async def backed_up():
            async with backing_up.held(operator, every_seconds=0.02) as confirm:
                await confirm()
                await catalog.run(holds.release_all)
                await asyncio.wait_for(asyncio.Event().wait(), 20)

        with pytest.raises(Conflict, match="lost its hold"):
            await backed_up()
        async with backing_up.held(operator) as confirm:
            await catalog.run(holds.release_all)
            with pytest.raises(Conflict, match="lost its hold"):
                await confirm()
