"""`mediavault organisations` and `mediavault keys`."""

import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mediavault.cli.answers import command, show_json
from mediavault.cli.durations import milliseconds
from mediavault.domain.times import iso8601
from mediavault.errors import ConfigError

if TYPE_CHECKING:
    from mediavault.catalog.organisations import KeyRow
    from mediavault.cli.operators import Operator
    from mediavault.vault.authorising import NewKey

organisations = typer.Typer(help="Organisations: tenants that share nothing.", no_args_is_help=True)
keys = typer.Typer(help="API keys: shown once, kept as digests.", no_args_is_help=True)

Data = Annotated[Path | None, typer.Option(help="The data folder (MEDIAVAULT_DATA; ./mediavault-data).")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of text; errors too.")]


Life = Annotated[
    str | None, typer.Option("--expires-in", help="How long it lives: 90d, 12h; without an end unless given.")
]


KeyId = Annotated[str, typer.Argument(help="Its id, as `mediavault keys list` shows it.", show_default=False)]


def operator(data: Path | None, *, making: bool = False) -> "Operator":
    """For the vault of a data folder. Only a command that makes something makes a vault where there is none."""
    from mediavault.catalog.database import sqlite_path
    from mediavault.cli.operators import Operator
    from mediavault.config import read_config

    config = read_config(os.environ, data=data)
    catalog = sqlite_path(config.catalog.url)
    if not making and catalog is not None and not catalog.exists():
        raise ConfigError(
            f"there is no vault in {config.data}: name the vault's --data folder, or make one with `mediavault serve`"
        )
    return Operator(config)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned, and never shortened to the terminal: what is shown is there to be copied."""
    lines = [columns, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@organisations.command("create")
@command
def create_organisation(name: str, *, data: Data = None, as_json: AsJson = False) -> None:
    """Add an organisation."""
    made = operator(data, making=True).create_organisation(name)
    if as_json:
        show_json({"id": made.id, "name": made.name})
    else:
        print(f"organisation {made.name} created; make it a key: mediavault keys create --org {shlex.quote(made.name)}")


@organisations.command("list")
@command
def list_organisations(*, data: Data = None, as_json: AsJson = False) -> None:
    """List organisations."""
    rows = operator(data).organisations()
    if as_json:
        show_json([{"id": row.id, "name": row.name, "createdAt": iso8601(row.created_at)} for row in rows])
    else:
        table(("name", "created"), [(row.name, iso8601(row.created_at)) for row in rows])


@keys.command("create")
@command
def create_key(
    *,
    org: Annotated[str, typer.Option("--org", help="The organisation's name.")] = "default",
    scopes: Annotated[str, typer.Option(help="Comma-separated: ACCOUNT, ACCESS.")] = "ACCOUNT,ACCESS",
    name: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    expires_in: Life = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once."""
    wanted = [scope.strip().upper() for scope in scopes.split(",") if scope.strip()]
    made = operator(data, making=True).create_key(
        org, wanted, name, None if expires_in is None else milliseconds(expires_in)
    )
    _show_once(made, as_json=as_json)


def _show_once(made: "NewKey", *, as_json: bool) -> None:
    if not as_json:
        print(made.secret)
        return
    shown: dict[str, Any] = {
        "id": made.id,
        "key": made.secret,
        "organisation": made.organisation,
        "scopes": made.scopes,
    }
    shown["expiresAt"] = _time(made.expires_at)
    if made.replaces is not None:
        shown |= {"replaces": made.replaces, "overlapUntil": _time(made.overlap_until)}
    show_json(shown)


@keys.command("rotate")
@command
def rotate_key(
    key_id: KeyId,
    *,
    overlap: Annotated[str, typer.Option(help="How long the old key still lives: 24h, 7d, 0s.")] = "24h",
    expires_in: Life = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a key that takes another's place, and show it, this once; the old one ends after the overlap."""
    life = None if expires_in is None else milliseconds(expires_in)
    made = operator(data).rotate_key(key_id, milliseconds(overlap), life)
    if not as_json:
        print(f"key {made.replaces} lives until {_time(made.overlap_until)}; the new one:", file=sys.stderr)
    _show_once(made, as_json=as_json)


@keys.command("list")
@command
def list_keys(*, data: Data = None, as_json: AsJson = False) -> None:
    """List keys, without their secrets."""
    rows = operator(data).keys()
    now = time.time_ns() // 1_000_000
    if as_json:
        show_json([_described(row, now) for row in rows])
        return
    table(
        ("id", "organisation", "key", "scopes", "created", "last used", "expires", "state"),
        [
            (
                row.id,
                row.organisation,
                f"{row.prefix}…",
                ",".join(row.scopes),
                iso8601(row.created_at),
                _time(row.last_used_at) or "never",
                _time(row.expires_at) or "never",
                _state(row, now),
            )
            for row in rows
        ],
    )


def _described(row: "KeyRow", now: int) -> dict[str, Any]:
    return {
        "id": row.id,
        "organisation": row.organisation,
        "name": row.name,
        "prefix": row.prefix,
        "scopes": row.scopes,
        "state": _state(row, now),
        "createdAt": iso8601(row.created_at),
        "lastUsedAt": _time(row.last_used_at),
        "expiresAt": _time(row.expires_at),
        "replacedBy": row.replaced_by,
        "revokedAt": _time(row.revoked_at),
    }


def _state(row: "KeyRow", now: int) -> str:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= now else "active"


def _time(at: int | None) -> str | None:
    return None if at is None else iso8601(at)


@keys.command("revoke")
@command
def revoke_key(key_id: KeyId, *, data: Data = None, as_json: AsJson = False) -> None:
    """End a key's life; a running vault refuses it within a second."""
    operator(data).revoke_key(key_id)
    if as_json:
        show_json({"revoked": key_id})
    else:
        print(f"key {key_id} revoked")
