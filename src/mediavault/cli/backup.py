"""`mediavault backup`: a vault copied while it serves, looked at, and made a vault again."""

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mediavault.cli.answers import command, show_json
from mediavault.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from mediavault.cli.recovering import Restored
    from mediavault.vault.portable.backing_up import Copied
    from mediavault.vault.portable.backup_folder import Snapshot
    from mediavault.vault.portable.recovering import Looked

backup = typer.Typer(help="Back up the vault while it serves; check, restore and prune backups.", no_args_is_help=True)

Data = Annotated[Path | None, typer.Option(help="The data folder (MEDIAVAULT_DATA; ./mediavault-data).")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of text; errors too.")]
From = Annotated[Path, typer.Option("--from", help="The folder of backups.")]
Which = Annotated[str, typer.Option("--snapshot", help="A name that `backup list` shows.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it would do, and do nothing.")]
#: Exit codes (experience, "CLI").
_PARTIAL, _FINDINGS = 3, 9
_NO_KEY = (
    "THE MASTER KEY IS NOT IN THIS BACKUP. Without it no stored session and no origin URL can be read again, and the\n"
    "restored vault does not start: keep {} somewhere else."
)
_WITH_KEY = "THE MASTER KEY IS IN THIS BACKUP ({}): whoever reads it can read every secret of the vault."


@backup.command("create")
@command
def create(
    to: Annotated[Path, typer.Option("--to", help="The folder of backups; each adds a snapshot and its new blobs.")],
    *,
    blobs: Annotated[bool, typer.Option(help="Copy the stored bytes too, or list them only.")] = True,
    deep: Annotated[bool, typer.Option("--deep", help="Read the blobs that are there by digest, not by size.")] = False,
    with_master_key: Annotated[bool, typer.Option("--with-master-key", help="Write the master key into it.")] = False,
    dry_run: DryRun = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Copy the catalog as of one moment and the blobs it refers to, beside the running vault.

    Safe to stop and to repeat. Exit 3: some blobs could not be copied.
    """
    from mediavault.cli import backing_up
    from mediavault.config import read_config

    config = read_config(os.environ, data=data)
    wanted = backing_up.Wanted(blobs=blobs, deep=deep, master_key=with_master_key)
    if dry_run:
        plan = asyncio.run(backing_up.planned(config, to, wanted))
        show_json(plan) if as_json else print(f"would back up {plan['blobs']} blobs, {plan['bytes']} bytes, to {to}")
        return
    snapshot, copied = asyncio.run(backing_up.create(config, to, wanted))
    _show_created(snapshot, copied, str(config.data / "master.key"), as_json=as_json)
    if copied.missing:
        raise typer.Exit(_PARTIAL)


def _show_created(snapshot: "Snapshot", copied: "Copied", key: str, *, as_json: bool) -> None:
    manifest = snapshot.manifest
    warning = (_WITH_KEY if manifest.master_key_included else _NO_KEY).format(key)
    if as_json:
        print(warning, file=sys.stderr)
        show_json(
            {
                "snapshot": snapshot.name,
                "folder": str(snapshot.folder),
                "blobs": copied.count,
                "bytes": copied.size_bytes,
                "copied": copied.copied,
                "copiedBytes": copied.copied_bytes,
                "present": copied.present,
                "missing": copied.missing,
                "masterKeys": manifest.master_keys,
                "masterKeyIncluded": manifest.master_key_included,
            }
        )
        return
    for blob, why in copied.missing.items():
        print(f"not copied: {blob}: {why}")
    print(f"{snapshot.folder}: {copied.count} blobs ({copied.size_bytes} bytes), {copied.copied} of them new")
    print(warning, file=sys.stderr)


@backup.command("list")
@command
def list_(from_: From, *, as_json: AsJson = False) -> None:
    """Show the snapshots in a folder of backups, the oldest first."""
    from mediavault.domain.times import iso8601
    from mediavault.vault.portable.backup_folder import BackupFolder

    folder = BackupFolder(from_)
    with folder.reading():
        manifests = [folder.snapshot(name).manifest for name in folder.names()]
    if as_json:
        show_json(manifests)
        return
    for each in manifests:
        blobs = f"{each.blobs.count} blobs, {each.blobs.size_bytes} bytes"
        notes = [] if each.blobs.included else ["without their bytes"]
        notes += [f"{len(each.blobs.missing)} missing"] if each.blobs.missing else []
        notes += ["with the master key"] if each.master_key_included else []
        print(f"{each.name}  {iso8601(each.created_at)}  {', '.join([blobs, *notes])}")


@backup.command("verify")
@command
def verify(
    from_: From,
    *,
    snapshot: Which = "latest",
    quick: Annotated[bool, typer.Option("--quick", help="Only the sizes of blobs, not their digests.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that a snapshot is whole: its catalog, its list, and every blob by its digest. Exit 9: it is not."""
    from mediavault.cli import recovering

    found, looked = asyncio.run(recovering.check(from_, snapshot, deep=not quick))
    _show_checked(found, looked, as_json=as_json)
    if looked.faults:
        raise typer.Exit(_FINDINGS)


def _show_checked(found: "Snapshot", looked: "Looked", *, as_json: bool) -> None:
    if as_json:
        show_json(
            {"snapshot": found.name, "blobs": looked.blobs, "bytes": looked.bytes, "faults": looked.faults}
            | {"masterKeys": found.manifest.master_keys, "masterKeyIncluded": found.manifest.master_key_included}
        )
        return
    for fault in looked.faults:
        print(f"{fault.code}: {fault.text}{'' if fault.key is None else f' ({fault.key})'}")
    count = len(looked.faults)
    print(f"{found.name}: {count} finding{'s' if count != 1 else ''}; {looked.blobs} blobs, {looked.bytes} bytes")
    print(f"its secrets need the master keys {', '.join(found.manifest.master_keys)} (`mediavault master-key list`)")


@backup.command("restore")
@command
def restore(
    from_: From,
    data: Annotated[Path, typer.Option("--data", help="The new vault's data folder: empty, or not there.")],
    *,
    snapshot: Which = "latest",
    master_key_file: Annotated[
        Path | None, typer.Option(help="The vault's master.key, from your backup of it.")
    ] = None,
    disable_webhooks: Annotated[
        bool, typer.Option("--disable-webhooks", help="Tell no receiver anything: for a drill beside the real vault.")
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make a vault of a snapshot, in an empty data folder. Exit 3: some of its blobs are missing or bad.

    One that was cut short goes on when it is repeated; nobody serves the folder before.
    """
    from mediavault.cli import recovering
    from mediavault.config import read_config
    from mediavault.vault.portable.backup_folder import BackupFolder

    config = read_config(os.environ, data=data)
    if dry_run:
        manifest = BackupFolder(from_).snapshot(snapshot).manifest
        told = {"dryRun": True, "snapshot": manifest.name, "blobs": manifest.blobs.count}
        show_json(told) if as_json else print(f"would restore {manifest.name}, {manifest.blobs.count} blobs, to {data}")
        return
    if not from_.is_dir():
        raise NotFound(f"there is no folder at {from_}")
    done = asyncio.run(recovering.restore(config, from_, snapshot, master_key_file, disable_webhooks=disable_webhooks))
    _show_restored(done, data, as_json=as_json)
    if done.looked.faults:
        raise typer.Exit(_PARTIAL)


def _show_restored(done: "Restored", data: Path, *, as_json: bool) -> None:
    looked = done.looked
    if not done.has_master_key:
        print(f"PUT THE VAULT'S master.key INTO {data} BEFORE YOU START IT: it was not given.", file=sys.stderr)
    if as_json:
        show_json(
            {"snapshot": done.snapshot.name, "data": str(data), "blobs": looked.blobs, "bytes": looked.bytes}
            | {"faults": looked.faults, "storesUnderWay": done.stores, "masterKey": done.has_master_key}
        )
        return
    for fault in looked.faults:
        print(f"not restored: {fault.key}: {fault.text}")
    print(f"{done.snapshot.name} is in {data}: {looked.blobs} blobs, {looked.bytes} bytes")
    print(f"look at it with `mediavault verify --data {data}`, then start it with `mediavault serve --data {data}`")


@backup.command("prune")
@command
def prune(
    from_: From,
    *,
    keep: Annotated[int, typer.Option("--keep", min=0, help="Keep so many, the newest.")] = 0,
    keep_within: Annotated[str, typer.Option("--keep-within", help="Keep those that are no older, e.g. 30d.")] = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Remove old snapshots, and the blobs that no other one needs. The newest with its blobs always stays.

    What either option keeps is kept. Safe to stop and to repeat.
    """
    from mediavault.cli import durations, recovering
    from mediavault.vault.portable.pruning import Keep

    if not keep and not keep_within:
        raise InvalidRequest("say what to keep: --keep 7, or --keep-within 30d, or both")
    wanted = Keep(keep, durations.milliseconds(keep_within) if keep_within else None)
    plan, pruned = asyncio.run(recovering.prune(from_, wanted, dry_run=dry_run))
    if as_json:
        show_json(
            {"dryRun": dry_run, "kept": plan.kept, "removed": plan.removed}
            | {"blobs": pruned.blobs, "bytes": pruned.bytes}
        )
        return
    would = "would remove" if dry_run else "removed"
    for name in plan.removed:
        print(f"{would} {name}")
    counts = f"{len(plan.removed)} snapshots and {pruned.blobs} blobs, {pruned.bytes} bytes"
    print(f"{would} {counts}; {len(plan.kept)} snapshots stay")
