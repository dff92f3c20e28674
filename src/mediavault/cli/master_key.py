"""`mediavault master-key`: the keys that every secret at rest is sealed with, and their rotation."""

import secrets
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mediavault.cli.answers import command, show_json
from mediavault.cli.keys import AsJson, Data, operator, table
from mediavault.domain.times import iso8601
from mediavault.errors import VaultError

if TYPE_CHECKING:
    from mediavault.vault.rekeying import KeyView

master_key = typer.Typer(help="Master keys: what every secret at rest is sealed with.", no_args_is_help=True)


@master_key.command("generate")
@command
def generate() -> None:
    """Print a new master key, for MEDIAVAULT_MASTER_KEY or the file it is read from. Nothing is changed."""
    print(secrets.token_hex(32))


@master_key.command("status")
@command
def status(*, data: Data = None, as_json: AsJson = False) -> None:
    """The master keys by their ids, and which of them some stored secret still needs."""
    keys = operator(data).master_keys()
    if as_json:
        show_json([_described(key) for key in keys])
    else:
        rows = [
            (key.id, "seals" if key.current else "opens", "yes" if key.needed else "no", _time(key) or "")
            for key in keys
        ]
        table(("id", "use", "needed", "seals nothing since"), rows)


@master_key.command("rotate")
@command
def rotate(*, data: Data = None, as_json: AsJson = False) -> None:
    """Seal every secret with a new master key, beside a running vault or without one; a second call goes on.

    The previous key stays until `retire`: URLs that it signed live until they expire.
    """
    at = operator(data)
    current = at.rotate_master_key()[0]
    resealed, cursor = 0, None
    unopened: list[str] = []
    while True:
        part = at.reseal(cursor)
        resealed, unopened, cursor = resealed + part.resealed, unopened + part.unopened, part.cursor
        if cursor is None:
            break
        print(f"{resealed} secrets sealed with the master key {current.id}", file=sys.stderr, flush=True)
    if as_json:
        show_json({"current": current.id, "resealed": resealed, "unopened": unopened})
    else:
        print(
            f"{resealed} secrets sealed with the master key {current.id}. BACK UP the master keys now; "
            "`mediavault master-key retire` lets the previous one go, once the URLs that it signed have expired."
        )
    if unopened:
        raise VaultError(f"{len(unopened)} secrets open with no key and stay as they are: {', '.join(unopened[:5])}")


@master_key.command("retire")
@command
def retire(
    *,
    now: Annotated[bool, typer.Option("--now", help="Do not wait for the URLs that it signed: they end now.")] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Let the previous master keys go, when no stored secret needs them and the URLs they signed have expired."""
    gone = operator(data).retire_master_keys(at_once=now)
    if as_json:
        show_json({"retired": [key.id for key in gone]})
    elif gone:
        print(f"no longer needed: {', '.join(key.id for key in gone)}")
    else:
        print("there is no previous master key")


def _described(key: "KeyView") -> dict[str, object]:
    return {"id": key.id, "current": key.current, "needed": key.needed, "leftAt": _time(key)}


def _time(key: "KeyView") -> str | None:
    return None if key.left_at is None else iso8601(key.left_at)
