"""All commands, gathered. What a command needs is imported when it runs: `--version` and `--help` answer at once."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mediavault import __version__
from mediavault.cli import backup, bench, blobs, export, keys, master_key, platform, verify
from mediavault.cli.answers import INTERRUPTED, command

application = typer.Typer(
    name="mediavault",
    help="A self-hosted media vault: expiring media URLs in, signed and durable media out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
application.add_typer(keys.organisations, name="organisations")
application.add_typer(keys.keys, name="keys")
application.add_typer(master_key.master_key, name="master-key")
application.add_typer(blobs.blobs, name="blobs")
application.add_typer(backup.backup, name="backup")

Data = Annotated[Path | None, typer.Option(help="The data folder (MEDIAVAULT_DATA; ./mediavault-data).")]
ApiPort = Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the API; 0 picks a free one.")]
MediaPort = Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the media host; 0 picks a free one.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on.")]


class LogLevel(StrEnum):
    """What is logged: this and everything graver."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _version(*, wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@application.callback()
def _begin(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=lambda value: _version(wanted=value), is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    log_level: Annotated[LogLevel, typer.Option(help="What is logged, and everything graver.")] = LogLevel.INFO,
) -> None:
    from mediavault.telemetry import configure_logging

    del version
    configure_logging(log_level)
    os.umask(0o077)  # whatever is made from here on is its owner's alone


@application.command()
@command
def serve(
    *,
    data: Data = None,
    api_port: ApiPort = None,
    media_port: MediaPort = None,
    host: Host = None,
    role: Annotated[str | None, typer.Option(help="all, api, media or storer; roles need PostgreSQL.")] = None,
) -> None:
    """Serve the API, the media host and the storer until SIGTERM."""
    from mediavault.cli import serving
    from mediavault.config import read_config

    serving.run(read_config(os.environ, data=data, api_port=api_port, media_port=media_port, host=host, role=role))


@application.command()
@command
def demo(
    *,
    data: Data = None,
    api_port: ApiPort = None,
    media_port: MediaPort = None,
    platform_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the sandbox platform.")] = 8082,
    exit_: Annotated[bool, typer.Option("--exit", help="Stop when everything is stored.")] = False,
) -> None:
    """Start the sandbox platform and a vault, let a creator's media pass, and wait until they are stored.

    Ctrl-C ends it: with status 0 when everything was shown, 130 before.
    """
    from mediavault.cli import demonstration
    from mediavault.config import read_config

    config = read_config(os.environ, data=data, api_port=api_port, media_port=media_port)
    if not demonstration.run(config, platform_port, stop_when_stored=exit_):
        raise typer.Exit(INTERRUPTED)


# In the order in which `--help` shows them, behind those above.
application.command("verify")(verify.verify)
application.command("platform")(platform.platform)
application.command("bench")(bench.bench)
application.command("export")(export.export)
application.command("import")(export.import_)


def main() -> None:
    """The `mediavault` command."""
    application()
