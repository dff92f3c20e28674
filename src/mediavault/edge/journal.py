"""What is known of the copies, in one file: a line is appended for each that is kept or refreshed, and the last counts.

A file beside each copy would make the file system create twice as many, which costs more than writing a copy's bytes.
What has been evicted stays in the journal until it is written anew: a line without its copy says nothing. Not synced: a
line that a power cut takes costs one fetch.
"""

import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from mediavault.edge.copies import EdgeCopy

#: Lines that say nothing any more are borne up to so many, and to so many times those that do.
_LEAST_LINES, _MOST_SHARE = 1_000, 4


class Journal:
    """The journal of one folder. Any thread may append."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._lines = 0
        self._unended = False  #: the last line may lack its end
        self._later: list[EdgeCopy] | None = None  #: what came while it was written anew

    def read(self) -> dict[tuple[str, str], EdgeCopy]:
        """The last word on each copy, by variant and version; what is damaged is left out. Raises OSError."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return {}
        self._lines, self._unended = len(lines), lines[-1] != b""
        known = {}
        for line in lines:
            with suppress(msgspec.DecodeError, UnicodeError):
                copy = msgspec.json.decode(line, type=EdgeCopy)
                known[copy.variant_id, copy.version] = copy
        return known

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever written to it."""
        return self._lines == 0

    def append(self, copy: EdgeCopy) -> None:
        """Know that from now on. Raises OSError."""
        with self._lock:
            self._append(self._path, [copy])
            if self._later is not None:
                self._later.append(copy)

    def is_long(self, copies: int) -> bool:
        """Whether it should be written anew, when there are so many copies."""
        return self._lines > _LEAST_LINES + _MOST_SHARE * copies

    def rewrite(self, current: Callable[[], Iterable[EdgeCopy]]) -> None:
        """Know nothing but what is there, and what is appended meanwhile. Raises OSError, with nothing forgotten.

        Who appends has made it current before.
        """
        fresh = self._path.with_name(self._path.name + ".new")
        with self._lock:
            self._later = []
        try:
            lines = [msgspec.json.encode(copy) + b"\n" for copy in current()]
            fresh.touch(mode=0o600)
            fresh.write_bytes(b"".join(lines))
            with self._lock:
                later, self._later = self._later, None
                self._lines, self._unended = len(lines), False
                self._append(fresh, later)
                fresh.replace(self._path)
        finally:
            self._later = None

    def _append(self, path: Path, copies: list[EdgeCopy]) -> None:
        lines = b"".join(msgspec.json.encode(copy) + b"\n" for copy in copies)
        if self._unended:
            lines = b"\n" + lines
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            self._unended = True
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(fd, rest) :]
            self._unended = False
        finally:
            os.close(fd)
        self._lines += len(copies)
