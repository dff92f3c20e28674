"""Progress on stderr: a bar on a terminal, one plain line every ten seconds otherwise."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

_LINE_SECONDS = 10.0
_BAR_SECONDS = 0.2


@dataclass(frozen=True)
class At:
    """How far something is."""

    files: int
    bytes: int
    all_files: int
    all_bytes: int


@asynccontextmanager
async def shown(what: str, at: Callable[[], At]) -> AsyncIterator[None]:
    """Show how far it is while the block runs."""
    showing = asyncio.create_task(_bar(what, at) if sys.stderr.isatty() else _lines(what, at))
    try:
        yield
    finally:
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing


async def _lines(what: str, at: Callable[[], At]) -> None:
    while True:
        await asyncio.sleep(_LINE_SECONDS)
        now = at()
        size = f"{now.bytes >> 20} of {now.all_bytes >> 20} MiB"
        print(f"{what}: {now.files} of {now.all_files} files, {size}", file=sys.stderr, flush=True)


async def _bar(what: str, at: Callable[[], At]) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[files]} files"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None, files="")
        try:
            while True:
                now = at()
                progress.update(task, total=now.all_bytes, completed=now.bytes, files=f"{now.files}/{now.all_files}")
                await asyncio.sleep(_BAR_SECONDS)
        finally:
            now = at()
            progress.update(task, completed=now.bytes)
