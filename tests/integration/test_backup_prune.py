"""Pruning a folder of backups: what stays is whole, what nobody needs goes, whatever cuts it short or is in its way."""

import os
import shutil
from datetime import UTC, datetime

import pytest

from fakes.programs import environment, run
from fakes.vaults import running_vault
from mediavault.cli import backing_up, recovering
from mediavault.cli.backing_up import Wanted
from mediavault.errors import Conflict, InvalidRequest, NotFound
from mediavault.storer.sweeps import SweepConfig
from mediavault.vault.portable.backup_folder import BackupFolder
from mediavault.vault.portable.pruning import Keep

DAY = 86_400_000


async def stored(vault, connection, **media):
    added, item = await vault.add(connection, **media)
    await vault.ask("POST", item["media"]["full"]["url"])
    await vault.until_stored(connection, added.id)
    return added.id


def blob_sizes(folder):
    return sorted(path.stat().st_size for path in (folder / "blobs").glob("[!.]*/*/*"))


def aged(folder, name, days):
    """A snapshot as if it had been taken so long ago; its new name."""
    at = datetime.fromtimestamp(datetime.now(UTC).timestamp() - days * 86_400, UTC)
    renamed = f"{at:%Y%m%dT%H%M%SZ}-{name[-6:]}"
    (folder / "snapshots" / name).rename(folder / "snapshots" / renamed)
    return renamed


async def whole(folder, names):
    """Whether every one of these snapshots has all that it needs."""
    for name in names:
        _, looked = await recovering.check(folder, name, deep=True)
        assert looked.faults == [], (name, looked.faults)
    return True


@pytest.fixture
async def backups(tmp_path):
    """Three snapshots, 30, 10 and 1 days old: of the blobs {1, 2}, {2, 3} and {3, 4}, each of 5,000 bytes and more."""
    folder, names = tmp_path / "backups", []
    sweep = SweepConfig(every_seconds=1000, undo_window_ms=0)
    async with running_vault(tmp_path / "data", sweep=sweep) as vault:
        connection, config = await vault.connect(), vault.vault.config
        ids = [await stored(vault, connection, size_bytes=5_001)]
        for number, days in ((2, 30), (3, 10), (4, 1)):
            ids.append(await stored(vault, connection, size_bytes=5_000 + number))
            snapshot, _ = await backing_up.create(config, folder, Wanted())
            names.append(aged(folder, snapshot.name, days))
            gone = await vault.call("DELETE", f"/v2/vault-plus/media/{ids.pop(0)}", connection=connection)
            assert gone.status == 200, gone.body
            await vault.vault.sweeps.sweep()
            assert len(blob_sizes(tmp_path / "data")) == 1
    assert blob_sizes(folder) == [5_001, 5_002, 5_003, 5_004]
    return folder, names


@pytest.mark.parametrize(
    ("keep", "stay", "sizes"),
    [
        (Keep(1), 1, [5_003, 5_004]),
        (Keep(2), 2, [5_002, 5_003, 5_004]),
        (Keep(9), 3, [5_001, 5_002, 5_003, 5_004]),
        (Keep(within_ms=20 * DAY), 2, [5_002, 5_003, 5_004]),
        (Keep(1, within_ms=40 * DAY), 3, [5_001, 5_002, 5_003, 5_004]),
        (Keep(within_ms=1), 1, [5_003, 5_004]),
    ],
)
async def test_what_stays_is_whole_and_only_what_it_needs_stays(backups, keep, stay, sizes):
    folder, names = backups
    told, counted = await recovering.prune(folder, keep, dry_run=True)
    assert BackupFolder(folder).names() == names
    assert blob_sizes(folder) == [5_001, 5_002, 5_003, 5_004]
    plan, pruned = await recovering.prune(folder, keep, dry_run=False)
    assert (told, counted) == (plan, pruned)
    assert (plan.kept, plan.removed) == (names[3 - stay :], names[: 3 - stay])
    assert BackupFolder(folder).names() == plan.kept
    assert {path.name for path in (folder / "snapshots").iterdir()} == set(plan.kept)
    assert blob_sizes(folder) == sizes
    assert (pruned.blobs, pruned.bytes) == (4 - len(sizes), sum([5_001, 5_002, 5_003, 5_004]) - sum(sizes))
    assert await whole(folder, plan.kept)


class Cut(BaseException):
    """The machine stops here."""


def cut_at(patched, number):
    """The system calls that remove names stop the machine at the n-th; how many were let through."""
    let: list[tuple[object, ...]] = []
    for name in ("rename", "unlink", "rmdir"):
        real = getattr(os, name)

        def call(*arguments, _real=real, **more):
            if len(let) == number:
                raise Cut
            let.append(arguments)
            return _real(*arguments, **more)

        patched.setattr(os, name, call)
    return let


async def test_cut_off_at_any_step_every_named_snapshot_is_whole_and_the_next_prune_does_the_rest(
    backups, tmp_path, monkeypatch
):
    folder, names = backups
    cuts = 0
    while True:
        copy = tmp_path / f"copy-{cuts}"
        shutil.copytree(folder, copy)
        with monkeypatch.context() as patched:
            cut_at(patched, cuts)
            try:
                await recovering.prune(copy, Keep(1), dry_run=False)
                break
            except* Cut:  # anything else goes on up
                cuts += 1
        left = BackupFolder(copy).names()
        assert names[-1] in left
        assert await whole(copy, left)
        await recovering.prune(copy, Keep(1), dry_run=False)
        assert {path.name for path in (copy / "snapshots").iterdir()} == {names[-1]}
        assert blob_sizes(copy) == [5_003, 5_004]
        shutil.rmtree(copy)
    assert cuts > 10


async def test_a_backup_goes_on_where_a_prune_was_cut_off(backups, tmp_path, monkeypatch):
    folder, names = backups
    with monkeypatch.context() as patched:
        cut_at(patched, 4)
        with pytest.raises(Cut):
            await recovering.prune(folder, Keep(1), dry_run=False)
    hidden = [path.name for path in (folder / "snapshots").iterdir() if path.name.startswith(".")]
    assert hidden
    (folder / "snapshots" / ".notes").write_text("mine")
    async with running_vault(tmp_path / "data") as vault:
        made, _ = await backing_up.create(vault.vault.config, folder, Wanted())
    assert {path.name for path in (folder / "snapshots").iterdir()} == {names[-1], made.name, ".notes"}
    assert await whole(folder, [names[-1], made.name])


async def test_it_is_refused_while_a_backup_a_check_or_a_restore_uses_the_folder_and_they_during_it(backups, tmp_path):
    folder, names = backups
    writing = BackupFolder(folder)
    writing.open()
    for dry_run in (True, False):
        with pytest.raises(Conflict, match="uses"):
            await recovering.prune(folder, Keep(1), dry_run=dry_run)
    with BackupFolder(folder).reading():  # a backup keeps nobody from reading
        writing.close()
        with pytest.raises(Conflict, match="uses"):
            await recovering.prune(folder, Keep(1), dry_run=False)
        writing.open()  # nor does a reader keep a backup away
        writing.close()
    with BackupFolder(folder).alone():
        with pytest.raises(Conflict, match="prune"):
            await recovering.check(folder, "latest", deep=False)
        with pytest.raises(Conflict, match="prune"):
            BackupFolder(folder).open()
        listed = await run("backup", "list", "--from", folder, cwd=tmp_path, env=environment())
        assert (listed.code, "prune" in listed.err) == (8, True)
    assert BackupFolder(folder).names() == names
    assert len(blob_sizes(folder)) == 4


@pytest.mark.parametrize("spoil", ["shorter", "gone", "no manifest", "another version"])
async def test_nothing_is_removed_where_the_list_of_a_snapshot_that_stays_is_spoiled(backups, spoil):
    folder, names = backups
    kept = folder / "snapshots" / names[-1]
    if spoil == "shorter":
        listed = (kept / "blobs.jsonl").read_bytes().splitlines(keepends=True)
        (kept / "blobs.jsonl").write_bytes(listed[0])
    elif spoil == "gone":
        (kept / "blobs.jsonl").unlink()
    elif spoil == "no manifest":
        (kept / "manifest.json").unlink()
    else:
        text = (kept / "manifest.json").read_text()
        (kept / "manifest.json").write_text(text.replace('"version": 1', '"version": 2'))
    with pytest.raises(InvalidRequest):
        await recovering.prune(folder, Keep(1), dry_run=False)
    assert BackupFolder(folder).names() == names
    assert len(blob_sizes(folder)) == 4


async def test_a_spoiled_snapshot_that_goes_is_in_nobodys_way(backups):
    folder, names = backups
    (folder / "snapshots" / names[0] / "manifest.json").write_text("{")
    plan, _ = await recovering.prune(folder, Keep(2), dry_run=False)
    assert plan.removed == names[:1]
    assert await whole(folder, plan.kept)


async def test_the_newest_snapshot_with_its_blobs_stays_and_so_does_what_one_without_them_lists(backups, tmp_path):
    folder, names = backups
    async with running_vault(tmp_path / "data") as vault:
        listing, _ = await backing_up.create(vault.vault.config, folder, Wanted(blobs=False))
    plan, _ = await recovering.prune(folder, Keep(1), dry_run=False)
    assert plan.kept == [names[-1], listing.name]
    assert blob_sizes(folder) == [5_003, 5_004]
    assert await whole(folder, plan.kept)


async def test_what_a_killed_backup_had_copied_goes_too(backups):
    folder, _ = backups
    orphan = folder / "blobs" / "org" / "ff" / "00ff"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"o" * 77)
    (folder / "blobs" / ".staging" / "org.00aa.1234").write_bytes(b"half")
    plan, pruned = await recovering.prune(folder, Keep(9), dry_run=False)
    assert (plan.removed, pruned.blobs, pruned.bytes) == ([], 1, 77)
    assert list((folder / "blobs" / ".staging").iterdir()) == []
    assert len(blob_sizes(folder)) == 4


@pytest.mark.parametrize("name", ["99999999T000000Z-abcdef", "20260230T000000Z-abcdef"])
async def test_a_name_that_is_no_time_is_not_removed_for_its_age(backups, name):
    folder, names = backups
    (folder / "snapshots" / names[0]).rename(folder / "snapshots" / name)
    with pytest.raises(InvalidRequest, match="not named after a time"):
        await recovering.prune(folder, Keep(within_ms=DAY), dry_run=False)
    assert len(BackupFolder(folder).names()) == 3


async def test_a_folder_of_other_things_is_not_pruned(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_bytes(b"precious")
    for folder in (tmp_path / "photos", tmp_path / "nowhere"):
        with pytest.raises(NotFound):
            await recovering.prune(folder, Keep(1), dry_run=False)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["mine.jpg"]
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.slow
async def test_the_command_says_what_it_would_remove_and_removes_it(backups, tmp_path):
    folder, names = backups

    async def asked(*more):
        return await run("backup", "prune", "--from", folder, *more, cwd=tmp_path, env=environment())

    for wrong in ((), ("--keep", "-1"), ("--keep-within", "soon")):
        assert (await asked(*wrong)).code == 2
    dry = await asked("--keep", "1", "--dry-run")
    assert (dry.code, f"would remove {names[0]}" in dry.out) == (0, True)
    assert "would remove 2 snapshots and 2 blobs, 10003 bytes; 1 snapshots stay" in dry.out
    done = await asked("--keep", "1", "--keep-within", "20d", "--json")
    assert done.json == {"dryRun": False, "kept": names[1:], "removed": names[:1], "blobs": 1, "bytes": 5_001}
    assert BackupFolder(folder).names() == names[1:]
