"""The operating system's calls: recorded as they succeed, or made to fail."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


def fail(
    monkeypatch: pytest.MonkeyPatch, name: str, code: int, when: Callable[..., bool] = lambda *_: True
) -> list[int]:
    """Let a system call fail where `when` says so; the list grows with each failure."""
    real, failures = getattr(os, name), list[int]()

    def failing(*arguments, **options):
        if when(*arguments):
            failures.append(code)
            raise OSError(code, os.strerror(code))
        return real(*arguments, **options)

    monkeypatch.setattr(os, name, failing)
    return failures


def record(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls that make a blob durable, as they succeed: what, and on what."""
    done: list[str] = []
    for name in ("fsync", "rename", "link", "unlink"):
        monkeypatch.setattr(os, name, _recorded(done, name))
    return done


def _recorded(done: list[str], name: str) -> Callable[..., object]:
    real = getattr(os, name)

    def recorded(*arguments, **options):
        text = " ".join(describe(argument) for argument in arguments)
        result = real(*arguments, **options)
        done.append(f"{name} {text}")
        return result

    return recorded


def describe(file: str | Path | int) -> str:
    """A path or descriptor, without what is different in every run."""
    path = Path(f"/proc/self/fd/{file}").readlink() if isinstance(file, int) else Path(file)
    return "staged" if path.parent.name == ".staging" else path.name


def held_below(folder: Path) -> list[str]:
    """The files and folders below `folder` that this process has open."""
    held = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            held.append(str(entry.readlink()))
        except FileNotFoundError:
            continue  # the one that listed the entries
    return [name for name in held if name.startswith(str(folder))]
