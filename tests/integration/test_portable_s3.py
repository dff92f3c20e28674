"""Backups, restores, exports and imports with the bytes in a bucket of a real S3 server, to there and from there."""

import contextlib
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from fakes import s3_server
from fakes.bodies import listed
from fakes.catalog_rows import broken_invariants, rows
from fakes.kept_items import served_digests, stored_full
from fakes.programs import environment, program, run
from fakes.running import serving
from fakes.vaults import running_vault, until
from mediavault.blobs.places import StorageConfig, open_place, primary_of
from mediavault.blobs.s3 import S3Blobs
from mediavault.cli import backing_up, importing, recovering
from mediavault.cli.backing_up import Wanted
from mediavault.cli.visiting import open_export, open_visit
from mediavault.errors import BlobUnavailable, ConfigError
from mediavault.platform.application import application
from mediavault.platform.sandbox import Sandbox
from mediavault.vault.integrity.verifying import Asked
from mediavault.vault.portable.export_target import open_target
from mediavault.vault.portable.importing import Wish

SIZES = (5_000, 9_000_000, 70_000)  # the second one in several parts


@pytest.fixture
def bucket(s3_url, s3_bucket):
    """A place in a bucket, and the storage and the store of it."""
    place, credentials = s3_server.place_of(s3_url, s3_bucket, "vault"), s3_server.credentials_of(s3_url)
    return StorageConfig(place, credentials=credentials), S3Blobs(place, credentials)


@pytest.fixture
async def sandbox():
    """An upstream that outlives its vaults: what they have in common."""
    made = Sandbox()
    async with serving(application(made)) as url:
        yield {"sandbox": made, "platform_url": url}


async def filled(vault):
    connection = await vault.connect()
    return connection, dict([await stored_full(vault, connection, type="photo", size_bytes=size) for size in SIZES])


def elsewhere(config, data, storage):
    catalog = replace(config.catalog, url=f"sqlite:///{data / 'catalog.sqlite'}")
    return replace(config, data=data, blobs=data / "blobs", catalog=catalog, storage=storage)


async def verified(config):
    """What `verify --deep` finds."""
    visit = await open_visit(config)
    try:
        return (await visit.verifying.verify(Asked(deep=True))).findings
    finally:
        await visit.close()


@pytest.mark.parametrize("away", ["from a bucket to a disk", "from a disk to a bucket", "from a bucket to a bucket"])
async def test_a_backup_is_restored_to_another_kind_of_store(tmp_path, s3_url, bucket, sandbox, away):
    storage, _ = bucket
    source, target = (StorageConfig() if "disk" in side else storage for side in away.split(" to "))
    if source == target:
        target = replace(target, bucket=s3_server.place_of(s3_url, s3_server.new_bucket(s3_url), "other/prefix"))
    async with running_vault(tmp_path / "data", storage=source, **sandbox) as vault:
        connection, before = await filled(vault)
        config = vault.vault.config
        snapshot, copied = await backing_up.create(config, tmp_path / "b", Wanted(master_key=True))
        assert (copied.missing, copied.present, snapshot.manifest.blobs.included) == ({}, 0, True)
        await stored_full(vault, connection, type="photo", size_bytes=4_000)
        _, again = await backing_up.create(config, tmp_path / "b", Wanted(master_key=True, deep=True))
        assert (again.missing, again.present) == ({}, copied.count)
        total = again.count
    _, looked = await recovering.check(tmp_path / "b", "latest", deep=True)
    assert (looked.faults, looked.blobs) == ([], total)
    new = elsewhere(config, tmp_path / "new", target)
    done = await recovering.restore(new, tmp_path / "b", "latest", None, disable_webhooks=False)
    assert (done.looked.faults, done.looked.blobs) == ([], total)
    store = open_place(primary_of(new.blobs, target), target.credentials)
    assert len(await listed(store)) == total
    assert await verified(new) == []
    async with running_vault(tmp_path / "new", storage=target, **sandbox) as vault:
        after = await served_digests(vault, connection)
        assert len(after) == len(SIZES) + 1
        assert before.items() <= after.items()
        assert await broken_invariants(vault.vault.foundation.catalog) == []
        assert {row["place"] for row in await rows(vault.vault.foundation.catalog, "blobs")} == {None}


async def test_a_backup_is_taken_while_blobs_move_to_a_bucket(tmp_path, bucket, sandbox):
    storage, _ = bucket
    data = tmp_path / "data"
    async with running_vault(data, **sandbox) as vault:
        connection, before = await filled(vault)
    moving = replace(storage, previous=data / "blobs")
    async with running_vault(data, storage=moving, **sandbox) as vault:
        turn = await vault.vault.moving.turn(storage.bucket.url, "", 0.001)
        assert turn.moved > 0
        late, digest = await stored_full(vault, connection, type="photo", size_bytes=3_000)
        _, copied = await backing_up.create(vault.vault.config, tmp_path / "b", Wanted(master_key=True))
        config = vault.vault.config
    assert copied.missing == {}
    new = elsewhere(config, tmp_path / "new", StorageConfig())
    done = await recovering.restore(new, tmp_path / "b", "latest", None, disable_webhooks=False)
    assert done.looked.faults == []
    assert await verified(new) == []
    async with running_vault(tmp_path / "new", **sandbox) as vault:
        assert await served_digests(vault, connection) == before | {late: digest}


async def test_a_snapshot_without_blobs_is_restored_beside_its_bucket_and_nowhere_else(tmp_path, bucket, sandbox):
    storage, s3 = bucket
    async with running_vault(tmp_path / "data", storage=storage, **sandbox) as vault:
        connection, before = await filled(vault)
        config = vault.vault.config
        await backing_up.create(config, tmp_path / "b", Wanted(blobs=False, master_key=True))
    kept = await listed(s3)
    new = elsewhere(config, tmp_path / "new", StorageConfig())
    with pytest.raises(ConfigError, match="taken without blobs"):
        await recovering.restore(new, tmp_path / "b", "latest", None, disable_webhooks=False)
    done = await recovering.restore(
        replace(new, storage=storage), tmp_path / "b", "latest", None, disable_webhooks=False
    )
    assert done.looked.faults == []
    assert await listed(s3) == kept
    async with running_vault(tmp_path / "new", storage=storage, **sandbox) as vault:
        assert await served_digests(vault, connection) == before


async def test_a_service_that_is_away_ends_a_backup_and_no_snapshot_is_named(tmp_path, bucket, sandbox):
    storage, _ = bucket
    async with running_vault(tmp_path / "data", storage=storage, **sandbox) as vault:
        await filled(vault)
        away = replace(storage, bucket=replace(storage.bucket, endpoint="http://127.0.0.1:9"))
        with pytest.raises(BlobUnavailable):
            await backing_up.create(replace(vault.vault.config, storage=away), tmp_path / "b", Wanted())
        assert not [path for path in (tmp_path / "b" / "snapshots").iterdir() if not path.name.startswith(".")]
        _, copied = await backing_up.create(vault.vault.config, tmp_path / "b", Wanted())
        assert copied.missing == {}


@pytest.mark.parametrize("form", ["folder", "archive.tar"])
@pytest.mark.parametrize("away", ["from a bucket to a disk", "from a disk to a bucket"])
async def test_an_export_is_imported_into_another_kind_of_store(tmp_path, bucket, sandbox, away, form):
    storage, _ = bucket
    source, target = (StorageConfig() if "disk" in side else storage for side in away.split(" to "))
    async with running_vault(tmp_path / "a", storage=source, **sandbox) as a:
        connection, before = await filled(a)
        async with open_export(a.vault.config) as exporting:
            with contextlib.closing(open_target(tmp_path / form)) as to:
                await exporting.carry_out(await exporting.connection(connection), to)
            assert exporting.counted.failed == {}
    async with running_vault(tmp_path / "b", storage=target, **sandbox) as b:
        done = await importing.run(b.vault.config, tmp_path / form, Wish(), dry_run=False)
        assert (done.took.refused, done.took.limit, done.took.imported) == ({}, None, exporting.counted.files)
        assert await served_digests(b, done.connection_id) == before
        assert await broken_invariants(b.vault.foundation.catalog) == []
        store = b.vault.media.blobs
        assert len(await listed(store)) == len(await rows(b.vault.foundation.catalog, "blobs", state="live"))
        assert isinstance(store, S3Blobs) == (target.bucket is not None)
        config = b.vault.config
    assert await verified(config) == []


@pytest.mark.slow
async def test_a_restore_into_a_bucket_that_is_killed_goes_on_by_the_commands(tmp_path, s3_url, bucket, sandbox):
    storage, s3 = bucket
    async with running_vault(tmp_path / "data", **sandbox) as vault:
        connection, before = await filled(vault)
        await backing_up.create(vault.vault.config, tmp_path / "b", Wanted(master_key=True))
    credentials = s3_server.credentials_of(s3_url)
    env = environment(
        BLOBS_URL=storage.bucket.url,
        S3_ACCESS_KEY_ID=credentials.access_key_id,
        S3_SECRET_ACCESS_KEY=credentials.secret_access_key,
    ) | {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{urlsplit(s3_url).port}"}
    new = tmp_path / "new"
    command = ("backup", "restore", "--from", tmp_path / "b", "--data", new, "--json")
    async with program(*command, cwd=tmp_path, env=env) as restoring:

        async def begun():
            return (new / "restore.unfinished").exists() and await listed(s3)

        await until(begun)
        await restoring.kill()
    done = await run(*command, cwd=tmp_path, env=env)
    if done.code == 8:  # the first one was quicker than the kill
        assert "not empty" in done.err
    else:
        assert (done.code, done.json["faults"]) == (0, []), done.err
    clean = await run("verify", "--deep", "--data", new, "--json", cwd=tmp_path, env=env)
    assert clean.code == 0, clean.out + clean.err
    async with running_vault(new, storage=storage, **sandbox) as vault:
        assert await served_digests(vault, connection) == before
