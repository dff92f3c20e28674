"""`mediavault organisations` and `mediavault keys`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mediavault.cli.answers import command, show_json
from mediavault.domain.times import iso8601

if TYPE_CHECKING:
    from mediavault.cli.operators import Operator

organisations = typer.Typer(help="Organisations: tenants that share nothing.", no_args_is_help=True)
keys = typer.Typer(help="API keys: shown once, kept as digests.", no_args_is_help=True)

Data = Annotated[Path | None, typer.Option(help="The data folder (MEDIAVAULT_DATA; ./mediavault-data).")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of text; errors too.")]


def _operator(data: Path | None) -> "Operator":
    from mediavault.cli.operators import Operator
    from mediavault.config import read_config

    return Operator(read_config(os.environ, data=data))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned, and never shortened to the terminal: what is shown is there to be copied."""
    lines = [columns, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@organisations.command("create")
@command
def create_organisation(name: str, *, data: Data = None, as_json: AsJson = False) -> None:
    """Add an organisation."""
    made = _operator(data).create_organisation(name)
    if as_json:
        show_json({"id": made.id, "name": made.name})
    else:
        print(f"organisation {made.name} created; make it a key: mediavault keys create --org {made.name}")


@organisations.command("list")
@command
def list_organisations(*, data: Data = None, as_json: AsJson = False) -> None:
    """List organisations."""
    rows = _operator(data).organisations()
    if as_json:
        show_json([{"id": row.id, "name": row.name, "createdAt": iso8601(row.created_at)} for row in rows])
    else:
        _table(("name", "created"), [(row.name, iso8601(row.created_at)) for row in rows])


@keys.command("create")
@command
def create_key(
    *,
    org: Annotated[str, typer.Option("--org", help="The organisation's name.")] = "default",
    scopes: Annotated[str, typer.Option(help="Comma-separated: ACCOUNT, ACCESS.")] = "ACCOUNT,ACCESS",
    name: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once."""
    wanted = [scope.strip().upper() for scope in scopes.split(",") if scope.strip()]
    made = _operator(data).create_key(org, wanted, name)
    if as_json:
        show_json({"id": made.id, "key": made.secret, "organisation": made.organisation, "scopes": made.scopes})
    else:
        print(made.secret)


@keys.command("list")
@command
def list_keys(*, data: Data = None, as_json: AsJson = False) -> None:
    """List keys, without their secrets."""
    rows = _operator(data).keys()
    if as_json:
        show_json(
            [
                {
                    "id": row.id,
                    "organisation": row.organisation,
                    "name": row.name,
                    "prefix": row.prefix,
                    "scopes": row.scopes,
                    "createdAt": iso8601(row.created_at),
                    "revokedAt": None if row.revoked_at is None else iso8601(row.revoked_at),
                }
                for row in rows
            ]
        )
        return
    _table(
        ("id", "organisation", "key", "scopes", "created", "state"),
        [
            (
                row.id,
                row.organisation,
                f"{row.prefix}…",
                ",".join(row.scopes),
                iso8601(row.created_at),
                "revoked" if row.revoked_at else "active",
            )
            for row in rows
        ],
    )


@keys.command("revoke")
@command
def revoke_key(key_id: str, *, data: Data = None, as_json: AsJson = False) -> None:
    """End a key's life; a running vault refuses it within a second."""
    _operator(data).revoke_key(key_id)
    if as_json:
        show_json({"revoked": key_id})
    else:
        print(f"key {key_id} revoked")
