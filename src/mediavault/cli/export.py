"""`mediavault export` and `mediavault import`: a connection's media as plain files, and back."""

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mediavault.cli.answers import command, show_json
from mediavault.errors import InvalidRequest

if TYPE_CHECKING:
    from mediavault.cli.importing import Imported
    from mediavault.config import Config
    from mediavault.domain.exported import ExportHead
    from mediavault.vault.portable.exporting import Counted

Data = Annotated[Path | None, typer.Option(help="The data folder (MEDIAVAULT_DATA; ./mediavault-data).")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of text; errors too.")]
#: Exit codes (experience, "CLI").
_PARTIAL, _QUOTA = 3, 6


@command
def export(
    connection: Annotated[str, typer.Argument(help="The connection's id: conn_…")],
    to: Annotated[Path, typer.Option("--to", help="A folder, or a file that ends in .tar.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would write, and write nothing.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Write a connection's stored media and all that is known of them to plain files, beside the running vault.

    Safe to stop and to repeat: what is there already is checked by its digest, and kept. Exit 3: some are missing.
    """
    from mediavault.config import read_config

    config = read_config(os.environ, data=data)
    if dry_run:
        counted = asyncio.run(_planned(config, connection))
        if as_json:
            show_json({"dryRun": True, "items": counted.items, "files": counted.files, "bytes": counted.bytes})
        else:
            print(f"would export {counted.items} items: {counted.files} files, {counted.bytes} bytes")
        return
    counted, head = asyncio.run(_exported(config, connection, to))
    _show_export(counted, head, to, as_json=as_json)
    if counted.failed:
        raise typer.Exit(_PARTIAL)


async def _planned(config: "Config", connection_id: str) -> "Counted":
    from mediavault.cli.visiting import open_export

    async with open_export(config) as exporting:
        row = await exporting.connection(connection_id)
        with tempfile.NamedTemporaryFile() as plan:
            await exporting.plan(row, Path(plan.name + ".plan"))
            Path(plan.name + ".plan").unlink()
        return exporting.counted


async def _exported(config: "Config", connection_id: str, to: Path) -> "tuple[Counted, ExportHead]":
    from mediavault.cli.progress import At, shown
    from mediavault.cli.visiting import open_export
    from mediavault.vault.portable.export_target import open_target

    async with open_export(config) as exporting:
        row = await exporting.connection(connection_id)
        target, counted = open_target(to), exporting.counted
        try:
            async with shown(
                "export", lambda: At(counted.done_files, counted.done_bytes, counted.files, counted.bytes)
            ):
                return counted, await exporting.carry_out(row, target)
        finally:
            target.close()


def _show_export(counted: "Counted", head: "ExportHead", to: Path, *, as_json: bool) -> None:
    if as_json:
        show_json(
            {
                "to": str(to),
                "connection": head.connection.id,
                "items": counted.items,
                "lists": counted.lists,
                "files": counted.done_files,
                "bytes": counted.done_bytes,
                "keptFiles": counted.kept_files,
                "failed": counted.failed,
            }
        )
        return
    for name, why in counted.failed.items():
        print(f"not exported: {name}: {why}")
    kept = f", {counted.kept_files} of them were there already" if counted.kept_files else ""
    print(f"{counted.items} items in {to}: {counted.done_files} files ({counted.done_bytes} bytes{kept})")


@command
def import_(
    source: Annotated[Path, typer.Argument(help="A folder or .tar file that `mediavault export` wrote.")],
    *,
    connection: Annotated[str | None, typer.Option("--connection", help="Import into this connection.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Make a connection for it, which has no session.")] = False,
    organisation: Annotated[str | None, typer.Option(help="With --new: whose it is (default).")] = None,
    upstream: Annotated[str | None, typer.Option(help="With --new: its upstream (MEDIAVAULT_UPSTREAM_URL).")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what is new, change nothing.")
    ] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Take an export into this vault: media are stored without an origin, and nothing that is stored is replaced.

    Safe to stop and to repeat. Exit 3: some were refused, or are stored with other bytes; 6: there is no more room.
    """
    from mediavault.cli.importing import run
    from mediavault.config import read_config
    from mediavault.vault.portable.importing import Wish

    if (connection is None) != new:
        raise InvalidRequest("either --connection ID or --new")
    if connection is not None and (organisation or upstream):
        raise InvalidRequest("--organisation and --upstream are for --new")
    config = read_config(os.environ, data=data)
    done = asyncio.run(run(config, source, Wish(connection, organisation, upstream), dry_run=dry_run))
    _show_import(done, dry_run=dry_run, as_json=as_json)
    if done.took.limit is not None:
        raise typer.Exit(_QUOTA)
    if done.took.refused or done.took.different:
        raise typer.Exit(_PARTIAL)


def _show_import(done: "Imported", *, dry_run: bool, as_json: bool) -> None:
    took = done.took
    if as_json:
        show_json(
            {
                "dryRun": dry_run,
                "connection": done.connection_id,
                "items": took.items,
                "imported": took.imported,
                "importedBytes": took.imported_bytes,
                "present": took.present,
                "different": took.different,
                "refused": took.refused,
                "listItems": took.members,
                "limit": took.limit,
            }
        )
        return
    for name, why in took.refused.items():
        print(f"refused: {name}: {why}")
    for name in took.different:
        print(f"kept as it is: {name}: the vault has other bytes stored")
    if took.limit is not None:
        print(f"stopped: {took.limit}; raise the limit or free some room, and run it again")
    verb = "would be imported" if dry_run else "imported"
    into = "" if done.connection_id is None else f" into {done.connection_id}"
    print(f"{took.imported} variants ({took.imported_bytes} bytes) {verb}{into}; {took.present} were there already")
