"""`mediavault bench`: the vault measured beside nginx on this machine."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mediavault.cli.answers import command, show_json
from mediavault.errors import InvalidRequest

if TYPE_CHECKING:
    from mediavault.bench.cases import Plan
    from mediavault.bench.running import Report

_LINE_SECONDS = 10

Only = Annotated[list[str] | None, typer.Option(help="Measure this case, and no others; can be repeated.")]
Rounds = Annotated[int | None, typer.Option(min=1, max=100, help="Rounds of each case (5; quick 2).")]
Awake = Annotated[
    bool,
    typer.Option(
        help="Let an idle-class process keep the load's core from sleeping: waking it is no work of a server."
    ),
]
Write = Annotated[
    Path | None, typer.Option(dir_okay=False, help="Write this Markdown page, and a picture beside it as .svg.")
]


@command
def bench(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="A run of a minute, with wide spreads.")] = False,
    only: Only = None,
    rounds: Rounds = None,
    keep_load_awake: Awake = True,
    write: Write = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document with every round; errors too.")] = False,
) -> None:
    """Measure the vault beside nginx: both serve the same bytes on this machine, in turn.

    Everything lies in a temporary folder and listens on loopback; nothing is left behind. Needs nginx and wrk.
    """
    from mediavault.bench.cases import plan
    from mediavault.bench.running import run

    peer = [sys.executable, "-m", "mediavault.cli.bench_constant"]
    chosen = plan(only or [], quick=quick, rounds=rounds, keep_load_awake=keep_load_awake)
    if write is not None and (write.suffix != ".md" or not write.parent.is_dir()):
        raise InvalidRequest(f"{write} cannot be the page: a file that ends in .md, in a folder that is there")
    with _Progress() as progress:
        report = run(chosen, peer, progress)
    if write is not None:
        _write(report, write, _command_line(chosen, quick=quick, only=only, rounds=rounds, write=write))
    if as_json:
        from mediavault.bench.report import document

        show_json(document(report.rows, report.facts))
    else:
        from mediavault.bench.report import table

        print(table(report.rows))


def _command_line(chosen: "Plan", *, quick: bool, only: list[str] | None, rounds: int | None, write: Path) -> str:
    """What gives the same page again."""
    words = ["mediavault bench"]
    words += ["--quick"] if quick else []
    words += [f"--only {case}" for case in only or []]
    words += [f"--rounds {rounds}"] if rounds is not None else []
    words += [] if chosen.keep_load_awake else ["--no-keep-load-awake"]
    return " ".join([*words, f"--write {write.name if write.is_absolute() else write}"])


def _write(report: "Report", path: Path, command_line: str) -> None:
    from mediavault.bench.chart import svg
    from mediavault.bench.report import page

    picture = path.with_suffix(".svg")
    subtitle = f"{report.facts['processor']}, {report.facts['date']}"
    picture.write_text(svg(report.rows, subtitle))
    path.write_text(page(report.rows, report.facts, command=command_line, picture=picture.name))


class _Progress:
    """What is going on: on a terminal one line that changes, else a plain line when something is done or starts."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)
        self._status = self._console.status("starting") if self._console.is_terminal else None
        self._told_at = 0.0

    def __enter__(self) -> "_Progress":
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def doing(self, text: str) -> None:
        """What happens now; off a terminal at most every ten seconds."""
        if self._status is not None:
            self._status.update(text)
        elif time.monotonic() - self._told_at >= _LINE_SECONDS:
            self._told_at = time.monotonic()
            self._console.print(text, soft_wrap=True)

    def done(self, text: str) -> None:
        """A finding."""
        self._console.print(text, soft_wrap=True)
