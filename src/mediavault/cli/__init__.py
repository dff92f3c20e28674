"""The command line: thin, one module a group of commands."""

from mediavault.cli.application import main

__all__ = ["main"]
