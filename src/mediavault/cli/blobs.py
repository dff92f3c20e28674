"""`mediavault blobs`: where stored bytes lie, whether they can, and how they get elsewhere."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mediavault.cli.answers import command, show_json

if TYPE_CHECKING:
    from mediavault.vault.integrity.moving import Turn

blobs = typer.Typer(help="Stored bytes: check where they lie, move them elsewhere.", no_args_is_help=True)

Data = Annotated[Path | None, typer.Option(help="The data folder (MEDIAVAULT_DATA; ./mediavault-data).")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of text; errors too.")]
#: How long one turn of a move takes: so often progress is shown.
_TURN_SECONDS = 5.0


@blobs.command("move")
@command
def move(
    to: Annotated[str, typer.Option("--to", help="file:///absolute/path or s3://bucket/prefix?…")],
    *,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Move all blobs to one of the vault's two places, beside the running vault. Safe to stop, and to repeat."""
    from mediavault.cli.moving import MoveOperator
    from mediavault.config import read_config
    from mediavault.config.storage import read_place_url

    config = read_config(os.environ, data=data)
    operator = MoveOperator(config)
    target, after, failed = read_place_url("--to", to, os.environ), "", list[str]()
    moved = moved_bytes = 0
    while True:
        turn = operator.turn(target, after, _TURN_SECONDS)
        moved, moved_bytes = moved + turn.moved, moved_bytes + turn.moved_bytes
        failed += turn.failed
        after = turn.after
        if not as_json:
            print(f"moved {moved} ({moved_bytes} bytes); {turn.left} left ({turn.left_bytes} bytes)", flush=True)
        if turn.done:
            break
    _show(target, moved, moved_bytes, failed, turn, as_json=as_json)
    if turn.left:
        raise typer.Exit(1)


def _show(target: str, moved: int, moved_bytes: int, failed: list[str], turn: "Turn", *, as_json: bool) -> None:
    if as_json:
        show_json(
            {"to": target, "moved": moved, "movedBytes": moved_bytes, "left": turn.left, "failed": failed}
            | {"oldCopies": turn.doomed}
        )
        return
    for each in failed:
        print(f"not moved: {each}")
    if turn.left:
        print(f"{turn.left} blobs are still elsewhere: run this again")
        return
    print(f"everything is at {target}")
    if turn.doomed:
        print(f"{turn.doomed} old copies are deleted within minutes while the vault runs; keep")
        print("MEDIAVAULT_BLOBS_PREVIOUS_URL until this command says that there are none")


@blobs.command("check")
@command
def check(*, data: Data = None, as_json: AsJson = False) -> None:
    """Use every place of blobs as the vault would, and look at the rules of its buckets."""
    from mediavault.cli.moving import checked
    from mediavault.config import read_config

    checks = checked(read_config(os.environ, data=data))
    if as_json:
        show_json([{"place": each.place, "check": each.name, "ok": each.ok, "advice": each.advice} for each in checks])
    else:
        for each in checks:
            print(f"{'ok ' if each.ok else 'BAD'}  {each.place}  {each.name}{'' if each.ok else ': ' + each.advice}")
    if not all(each.ok for each in checks):
        raise typer.Exit(1)
