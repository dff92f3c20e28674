"""How commands end: their output for people or as JSON, their errors with what to do next, their exit codes."""

import json
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, ParamSpec

import typer

from mediavault import errors

P = ParamSpec("P")

#: Exit codes (experience, "CLI"); the nearest ancestor counts.
EXIT_CODES: dict[type[errors.VaultError], int] = {
    errors.VaultError: 1,
    errors.InvalidRequest: 2,
    errors.ConfigError: 2,
    errors.NotPermitted: 4,
    errors.NotFound: 5,
    errors.LimitReached: 6,
    errors.OriginUnavailable: 7,
    errors.UpstreamUnavailable: 7,
    errors.CatalogUnavailable: 7,
    errors.Conflict: 8,
    errors.DataFolderLocked: 8,
}


INTERRUPTED = 130


def fail(text: str, code: int, *, as_json: bool) -> NoReturn:
    """Say what went wrong, in one line, and end."""
    text = " ".join(text.split())
    if as_json:
        print(json.dumps({"error": text, "exitCode": code}), file=sys.stderr)
    else:
        print(f"mediavault: {text}", file=sys.stderr)
    raise typer.Exit(code)


def exit_code(error: errors.VaultError) -> int:
    """The exit code of an error."""
    return next(EXIT_CODES[ancestor] for ancestor in type(error).__mro__ if ancestor in EXIT_CODES)


def command(function: Callable[P, None]) -> Callable[P, None]:
    """A command whose vault errors become exit codes."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs.get("as_json"))
        try:
            function(*args, **kwargs)
        except errors.VaultError as error:
            fail(str(error), exit_code(error), as_json=as_json)
        except KeyboardInterrupt:
            fail("interrupted", INTERRUPTED, as_json=as_json)
        except BrokenPipeError:
            raise  # whoever reads our output has enough: no error
        except OSError as error:
            fail(str(error), 1, as_json=as_json)

    return run


def show_json(content: Any) -> None:
    """One JSON document on stdout."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(content), indent=2).decode())
