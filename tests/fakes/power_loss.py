"""A disk that loses its power: it records what a process does to its files, and tells every state a crash may leave.

What is promised is little, as on the worst file system POSIX allows: a file's bytes are on the device once the file was
synced, a name once its folder was; what was not synced may be there or not, each name by itself, and bytes may be lost
or zeros. Committed rows are there: the database's own syncing is the database's matter.
"""

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FOLDER = -1  #: what a name of a folder leads to

#: Every live or other row of `blobs`: where its bytes are to be, and their digest where they are relied on.
Rows = dict[str, str | None]


@dataclass(frozen=True)
class Entered:
    """A name leads elsewhere now; None: nowhere."""

    folder: str
    name: str
    leads_to: int | None


@dataclass(frozen=True)
class Written:
    """Bytes were written to a file."""

    file: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Synced:
    """A file, or with its path a folder, is on the device."""

    what: int | str


@dataclass(frozen=True)
class Committed:
    """The catalog's rows, from here on."""

    rows: Rows


Event = Entered | Written | Synced | Committed


@dataclass
class Recorder:
    """What a process does below one folder, which itself is on the device."""

    root: Path
    events: list[Event] = field(default_factory=list)
    _names: dict[str, int] = field(default_factory=dict)
    _open: dict[int, str | int] = field(default_factory=dict)
    _files: Iterator[int] = field(default_factory=itertools.count)

    def record(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Watch this process's system calls; what SQLite does below Python is not seen, and need not be."""
        watched: dict[str, Callable[..., None]] = {
            "open": self._opened,
            "write": lambda taken, fd, data: self._wrote(fd, None, bytes(data)[:taken]),
            "pwrite": lambda taken, fd, data, offset: self._wrote(fd, offset, bytes(data)[:taken]),
            "pwritev": lambda taken, fd, parts, offset: self._wrote(fd, offset, b"".join(parts)[:taken]),
            "fsync": lambda _, fd: self._synced(fd),
            "rename": lambda _, source, target: self._renamed(str(source), str(target)),
            "link": lambda _, source, target, **__: self._enter(str(target), self._names.get(str(source))),
            "unlink": lambda _, path, **__: self._enter(str(path), None),
            "mkdir": lambda _, path, *__, **___: self._enter(str(path), FOLDER),
        }
        for name, then in watched.items():
            monkeypatch.setattr(os, name, _watched(getattr(os, name), then))

    def _opened(self, fd: int, path: Any, flags: int, *_: Any, **__: Any) -> None:
        path = str(path)
        if not path.startswith(f"{self.root}"):
            self._open.pop(fd, None)
        elif flags & os.O_DIRECTORY:
            self._open[fd] = path
        else:
            if path not in self._names and flags & os.O_CREAT:
                self._enter(path, next(self._files))
            self._open[fd] = self._names.get(path, FOLDER)

    def _wrote(self, fd: int, offset: int | None, data: bytes) -> None:
        file = self._open.get(fd)
        if isinstance(file, int) and file != FOLDER:
            end = os.lseek(fd, 0, os.SEEK_CUR)
            self.events.append(Written(file, end - len(data) if offset is None else offset, data))

    def _synced(self, fd: int) -> None:
        if fd in self._open:
            self.events.append(Synced(self._open[fd]))

    def _renamed(self, source: str, target: str) -> None:
        leads_to = self._names.get(source)
        if leads_to != self._names.get(target):  # two names of one file both stay (POSIX rename)
            self._enter(target, leads_to)
            self._enter(source, None)

    def _enter(self, path: str, leads_to: int | None) -> None:
        if path.startswith(f"{self.root}/"):
            if leads_to is None:
                self._names.pop(path, None)
            else:
                self._names[path] = leads_to
            folder, _, name = path.rpartition("/")
            self.events.append(Entered(folder, name, leads_to))


def _watched(real: Callable[..., Any], then: Callable[..., None]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options)
        then(result, *arguments, **options)
        return result

    return call


@dataclass
class Device:
    """What may be on the device after some of the events."""

    root: str
    rows: Rows = field(default_factory=dict)
    _names: dict[tuple[str, str], list[int | None]] = field(default_factory=dict)
    _memory: dict[int, bytearray] = field(default_factory=dict)
    _synced: dict[int, bytes] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        """One more event."""
        match event:
            case Entered(folder, name, leads_to):
                self._names.setdefault((folder, name), [None]).append(leads_to)
            case Written(file, offset, data):
                memory = self._memory.setdefault(file, bytearray())
                memory.extend(bytes(max(0, offset - len(memory))))
                memory[offset : offset + len(data)] = data
            case Synced(int(file)):
                self._synced[file] = bytes(self._memory.get(file, b""))
            case Synced(str(folder)):
                for (parent, _), values in self._names.items():
                    if parent == folder:
                        del values[:-1]
            case Committed(rows):
                self.rows = rows

    def states(self, paths: list[str]) -> Iterator[dict[str, bytes]]:
        """Every content that these paths may have after a crash now."""
        wanted = {part for path in paths for part in self._parts(path)}
        names = [(name, list(dict.fromkeys(self._names.get(name, [None])))) for name in sorted(wanted)]
        files = sorted({value for _, values in names for value in values if value is not None} - {FOLDER})
        contents = [(file, self._contents(file)) for file in files]
        for chosen in itertools.product(*(values for _, values in names)):
            state = dict(zip((name for name, _ in names), chosen, strict=True))
            for bodies in itertools.product(*(options for _, options in contents)):
                body = dict(zip((file for file, _ in contents), bodies, strict=True))
                yield {
                    path: body[leads_to]
                    for path in paths
                    if all(state[part] is not None for part in self._parts(path))
                    and (leads_to := state[self._parts(path)[-1]]) in body
                }

    def _contents(self, file: int) -> list[bytes]:
        memory, synced = bytes(self._memory.get(file, b"")), self._synced.get(file, b"")
        return [memory] if memory == synced else [synced, bytes(len(memory)), memory]

    def _parts(self, path: str) -> list[tuple[str, str]]:
        parts, folder = [], self.root
        for name in path.removeprefix(f"{self.root}/").split("/"):
            parts.append((folder, name))
            folder = f"{folder}/{name}"
        return parts


@dataclass(frozen=True)
class Verdict:
    """What came of trying every crash."""

    moments: int
    states: int
    bad: list[str]


def every_crash(recorder: Recorder) -> Verdict:
    """Cut the power after each event, and look at every state that may leave."""
    device, states, bad = Device(str(recorder.root)), 0, list[str]()
    ever = sorted({path for event in recorder.events if isinstance(event, Committed) for path in event.rows})
    for moment, event in enumerate(recorder.events):
        device.apply(event)
        for path in ever:  # a blob's fate depends on no other's
            for state in device.states([path]):
                states += 1
                fault = _fault(path, state.get(path), device.rows)
                if fault:
                    bad.append(f"after {moment} ({type(event).__name__}): {fault}")
    return Verdict(len(recorder.events), states, bad)


def _fault(path: str, content: bytes | None, rows: Rows) -> str | None:
    if path not in rows:
        return None if content is None else f"{path} lies there, and no row knows it"
    if rows[path] is None:
        return None  # written, or to be deleted: nobody relies on it, and a row leads the sweep to it
    if content is None:
        return f"{path} is stored and not there"
    return None if hashlib.sha256(content).hexdigest() == rows[path] else f"{path} is stored and has other bytes"
