"""What the edge cache knows of one copy, and where it keeps it.

    copies/<last of the variant id>/<variant id>.<version>      the bytes
    copies.jsonl                                                the EdgeCopy of each (`edge.journal`)

The version is part of the name, so that a reader who found one version can never open the bytes of the next. What is
remembered of the copies' use over a restart lies in one file, `uses.json`: it is a hint, and may be missing or old.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mediavault.errors import InvalidRequest

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MOST_FREQUENT = 15

#: This process or machine is out of descriptors: that says nothing of the copy.
_NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}


class EdgeCopy(msgspec.Struct, frozen=True):
    """A complete copy of one version of a variant's bytes."""

    variant_id: str
    version: str  #: names these bytes for good; their strong ETag
    size_bytes: int
    sha256: str | None  #: hex; None where it was not asked for yet
    content_type: str
    fetched_at: int  #: ms
    fresh_until: int  #: ms; from then on it wants revalidation
    origin_etag: str | None
    origin_last_modified: str | None
    origin_identity: str  #: what the origin calls the bytes, whatever URL it signs for them
    checksum: str | None = None  #: XXH3 of 128 bits, hex; copies of older versions have only their SHA-256


class Used(msgspec.Struct, frozen=True, array_like=True):
    """What is remembered of a copy's use."""

    variant_id: str
    used_at: int  #: ms
    frequency: int  #: 0 to 15


@dataclass
class OpenCopy:
    """A copy that is being read: it is not evicted until its opener closes it."""

    fd: int
    size_bytes: int
    sha256: str  #: hex
    _closed: Callable[[], None]

    def close(self) -> None:
        """Close the descriptor; closing twice is fine."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
            self._closed()


def copy_path(copies: Path, copy: EdgeCopy) -> Path:
    """The file of a copy's bytes. Raises InvalidRequest where its ids could not be part of a file name."""
    for name in (copy.variant_id, copy.version):
        if not _NAME.fullmatch(name):
            raise InvalidRequest(f"not an id an edge copy can have: {name!r}; it must be [A-Za-z0-9_-]{{1,64}}")
    return Path(f"{copies}/{copy.variant_id[-1:]}/{_name(copy)}")


def open_whole(path: Path, size_bytes: int) -> int | None:
    """A descriptor of a regular file of just that size; None where there is none. Raises OSError out of descriptors."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NO_DESCRIPTORS:
            raise
        return None
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_size == size_bytes:
        return fd
    os.close(fd)
    return None


def remove_copy(path: Path) -> None:
    """Remove a copy's file. Descriptors that are open stay readable (POSIX unlink)."""
    with suppress(OSError):  # what stays is met again, and dropped or counted, at the next start
        path.unlink()


def scan(copies: Path, known: Mapping[tuple[str, str], EdgeCopy]) -> Iterator[EdgeCopy]:
    """Every copy that is known and whole. Removes what is not; oldest fetch first."""
    names = {_name(copy): copy for copy in known.values() if _is_named(copy)}
    found: list[EdgeCopy] = []
    for folder in _folders(copies):
        for path in folder.iterdir():
            copy = names.get(path.name)
            if copy is not None and _agrees(copies, path, copy):
                found.append(copy)
            else:
                with suppress(OSError):
                    path.unlink()
    yield from sorted(found, key=lambda copy: (copy.fetched_at, copy.version))


def write_uses(path: Path, uses: Iterable[Used]) -> None:
    """Remember how the copies were used. Raises OSError."""
    fresh = path.with_name(path.name + ".new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(msgspec.json.encode(list(uses)))
    fresh.replace(path)


def read_uses(path: Path) -> dict[str, Used]:
    """What an earlier process remembered, by variant; nothing where it is damaged or missing."""
    try:
        uses = msgspec.json.decode(path.read_bytes(), type=list[Used])
    except (msgspec.DecodeError, OSError, UnicodeError):
        return {}
    return {use.variant_id: use for use in uses if use.used_at >= 0 and 0 <= use.frequency <= _MOST_FREQUENT}


def scan_used(copies: Path, known: Mapping[tuple[str, str], EdgeCopy], uses: Path) -> list[tuple[EdgeCopy, Used]]:
    """Every copy with what is remembered of its use; least recently used first. One that is not known was used once."""
    remembered = read_uses(uses)
    found = []
    for copy in scan(copies, known):
        used = remembered.get(copy.variant_id, Used(copy.variant_id, 0, 1))
        found.append((copy, Used(copy.variant_id, max(used.used_at, copy.fetched_at), used.frequency)))
    return sorted(found, key=lambda pair: pair[1].used_at)


def _agrees(copies: Path, path: Path, copy: EdgeCopy) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return path == copy_path(copies, copy) and stat.S_ISREG(status.st_mode) and status.st_size == copy.size_bytes


def _is_named(copy: EdgeCopy) -> bool:
    return _NAME.fullmatch(copy.variant_id) is not None and _NAME.fullmatch(copy.version) is not None


def _name(copy: EdgeCopy) -> str:
    return f"{copy.variant_id}.{copy.version}"


def _folders(copies: Path) -> list[Path]:
    return [folder for folder in copies.iterdir() if folder.is_dir() and not folder.is_symlink()]
