"""`mediavault verify`: whether everything is there and right, beside whoever serves it."""

import asyncio
import fcntl
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mediavault import errors
from mediavault.cli.answers import INTERRUPTED, fail, show_json

if TYPE_CHECKING:
    from mediavault.config import Config
    from mediavault.vault.integrity.verifying import Asked, Report, Verifying

#: Exit codes (reliability): those of the other commands begin at 4, and 1 is a failure there.
CLEAN, FINDINGS, CANNOT_RUN, LOCKED = 0, 1, 2, 11
_SUBSET = re.compile(r"([1-9]\d{0,4})/([1-9]\d{0,4})", re.ASCII)
_PROGRESS_SECONDS = 10


def verify(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Rows, and the sizes of blobs; this is the default.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="The digest of every blob and every origin URL too.")] = False,
    subset: Annotated[str, typer.Option(help="Blobs of part n of t only, n/t: always the same ones.")] = "1/1",
    repair: Annotated[bool, typer.Option("--repair", help="Quarantine what is bad; nothing is deleted.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --repair: say what it would do.")] = False,
    data: Annotated[Path | None, typer.Option(help="The data folder (MEDIAVAULT_DATA; ./mediavault-data).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of text; errors too.")] = False,
) -> None:
    """Check the vault's promises on its rows and bytes, also while it serves.

    Exit 0: clean, 1: findings, 2: it cannot be checked, 11: another process is at it.
    """
    try:
        if quick and deep:
            raise errors.InvalidRequest("--quick and --deep are not for the same run")
        if dry_run and not repair:
            raise errors.InvalidRequest("--dry-run is for --repair: without that nothing is changed anyway")
        report, repaired = _run(data, subset, deep=deep, repair=repair, dry_run=dry_run)
    except errors.DataFolderLocked as error:
        fail(str(error), LOCKED, as_json=as_json)
    except (errors.VaultError, OSError) as error:
        fail(str(error), CANNOT_RUN, as_json=as_json)
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED, as_json=as_json)
    if as_json:
        show_json({"report": report, "repaired": repaired, "dryRun": dry_run})
    else:
        _show(report, repaired, repair=repair, dry_run=dry_run)
    raise typer.Exit(FINDINGS if report.findings else CLEAN)


def _run(data: Path | None, subset: str, *, deep: bool, repair: bool, dry_run: bool) -> "tuple[Report, list[str]]":
    from mediavault.config import read_config
    from mediavault.vault.integrity.blobs import Subset
    from mediavault.vault.integrity.verifying import Asked

    match = _SUBSET.fullmatch(subset)
    if match is None or int(match[1]) > int(match[2]):
        raise errors.InvalidRequest(f"--subset is n/t, with n from 1 to t: not {subset!r}")
    config = read_config(os.environ, data=data)
    if not config.data.is_dir():
        raise errors.ConfigError(f"there is no data folder at {config.data}: name the vault's --data folder")
    asked = Asked(deep=deep, subset=Subset(int(match[1]), int(match[2])), served=_is_served(config))
    return asyncio.run(_verify(config, asked, repair=repair, dry_run=dry_run))


async def _verify(config: "Config", asked: "Asked", *, repair: bool, dry_run: bool) -> "tuple[Report, list[str]]":
    from mediavault.cli import repairing
    from mediavault.cli.visiting import open_visit

    visit = await open_visit(config)
    progress = asyncio.create_task(_tell(visit.verifying))
    try:
        report = await visit.verifying.verify(asked)
    finally:
        progress.cancel()
        await visit.close()
    wanted = repairing.repairable(report.findings) if repair else []
    if dry_run or not wanted:
        return report, [finding.blob for finding in wanted if finding.blob is not None]
    return report, await repairing.repair(config, wanted)


def _is_served(config: "Config") -> bool:
    """Whether a storer should be at work: on PostgreSQL it may be anywhere, so one is expected."""
    from mediavault.catalog.database import sqlite_path

    if sqlite_path(config.catalog.url) is None:
        return True
    try:
        lock = os.open(config.data / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


async def _tell(verifying: "Verifying") -> None:
    """A plain line on stderr now and then."""
    with suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            looked = verifying.looked
            print(f"verify: {looked.blobs} blobs, {looked.bytes >> 20} MiB looked at", file=sys.stderr)


def _show(report: "Report", repaired: Sequence[str], *, repair: bool, dry_run: bool) -> None:
    from mediavault.domain.findings import INVARIANTS
    from mediavault.domain.times import iso8601

    for finding in report.findings:
        where = ("organisation", "connection", "variant", "blob", "subject")
        ids = " ".join(f"{name}={value}" for name in where if (value := getattr(finding, name)) is not None)
        print(f"[{finding.invariant}] {finding.code}: {finding.text}\n    {ids}\n    -> {finding.remedy}")
    for number in sorted({finding.invariant for finding in report.findings}):
        print(f"Invariant {number}: {INVARIANTS[number]}.")
    if repair:
        print(f"{len(repaired)} {'would be' if dry_run else ''} set aside".replace("  ", " "))
    if report.scrubbed_at is not None:
        unread = f"; {report.unreadable} blobs it cannot read" if report.unreadable else ""
        print(f"The scrub read everything stored last by {iso8601(report.scrubbed_at)}{unread}.")
    rate = report.bytes / max(report.seconds, 0.001) / 1e6
    depth = f"{rate:.0f} MB/s hashed" if report.deep else "sizes only"
    count = len(report.findings)
    print(
        f"{count} finding{'s' if count != 1 else ''}; {report.checks} questions to the rows, {report.blobs} blobs "
        f"({depth}, part {report.subset}), {report.seconds:.1f} s"
    )
