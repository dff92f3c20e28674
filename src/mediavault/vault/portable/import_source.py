"""An export as an import reads it: a folder or a tar archive that a stranger may have made.

Everything is looked at before anything is taken: every document is decoded, every file that it names is found as a
plain file of the size it tells, no name leads anywhere else, and nothing is named twice. Digests are checked when the
bytes are taken.
"""

import io
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from mediavault.blobs.steps import open_regular
from mediavault.domain import exported
from mediavault.domain.exported import (
    LONGEST_LINE,
    ExportedItem,
    ExportedList,
    ExportedMember,
    ExportedVariant,
    ExportHead,
)
from mediavault.domain.lifecycle import Status
from mediavault.errors import BlobCorrupt, InvalidRequest
from mediavault.vault.portable import tar_format
from mediavault.vault.portable.tar_format import Member

T = TypeVar("T")

_SLICE = 1 << 20
_MOST_LINES = 10_000_000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Source(Protocol):
    """Files by their names in an export."""

    def opened(self, name: str) -> tuple[int, int, int]:
        """A descriptor for the caller to close, where the file begins in it, and its size. Raises InvalidRequest."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class FolderSource:
    """A folder. No link in it is followed."""

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def opened(self, name: str) -> tuple[int, int, int]:
        """Folder after folder from the root, none of them a link."""
        *folders, last = name.split("/")
        at = os.dup(self._root)
        try:
            for folder in folders:
                inner = os.open(folder, _FOLDER, dir_fd=at)
                os.close(at)
                at = inner
            fd, size_bytes = open_regular(last, dir_fd=at)
        except (OSError, BlobCorrupt) as error:
            raise InvalidRequest(f"{name} is no plain file in the export: {_why(error)}") from None
        finally:
            os.close(at)
        return fd, 0, size_bytes

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._root)


class TarSource:
    """A tar archive, whose members are found once."""

    def __init__(self, path: Path) -> None:
        try:
            self._fd, _ = open_regular(path)
        except BlobCorrupt as error:
            raise InvalidRequest(str(error)) from None
        try:
            self._members = _by_name(self._fd)
        except BaseException:
            os.close(self._fd)
            raise

    def opened(self, name: str) -> tuple[int, int, int]:
        """A part of the archive."""
        member = self._members.get(name)
        if member is None:
            raise InvalidRequest(f"{name} is not in the archive")
        return os.dup(self._fd), member.offset, member.size_bytes

    def close(self) -> None:
        """Let go of the archive."""
        os.close(self._fd)


def _by_name(fd: int) -> dict[str, Member]:
    found: dict[str, Member] = {}
    for member in tar_format.members(fd):
        if member.name in found:
            raise InvalidRequest(f"{member.name!r} is twice in the archive")
        if member.name in exported.DOCUMENTS or exported.is_media_name(member.name):
            found[member.name] = member
    return found


def _why(error: Exception) -> str:
    return (error.strerror or type(error).__name__) if isinstance(error, OSError) else str(error)


@dataclass(frozen=True)
class Expected:
    """What an export says it holds."""

    head: ExportHead
    items: int
    files: int
    bytes: int


class Export:
    """An export, opened."""

    def __init__(self, path: Path) -> None:
        try:
            self._source: Source = FolderSource(path) if path.is_dir() else TarSource(path)
        except OSError as error:
            raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from None

    def close(self) -> None:
        """Let go of it."""
        self._source.close()

    def head(self) -> ExportHead:
        """`export.json`. Raises InvalidRequest."""
        with self._file(exported.HEAD) as file:
            return exported.decoded_head(file.read(LONGEST_LINE + 1))

    def items(self) -> Iterator[ExportedItem]:
        """Every item. Raises InvalidRequest."""
        return self._lines(exported.ITEMS, ExportedItem)

    def lists(self) -> Iterator[ExportedList]:
        """Every list. Raises InvalidRequest."""
        return self._lines(exported.LISTS, ExportedList)

    def members(self) -> Iterator[ExportedMember]:
        """What is in which list. Raises InvalidRequest."""
        return self._lines(exported.MEMBERS, ExportedMember)

    def check(self) -> Expected:
        """Look at all of it but the bytes. Raises InvalidRequest for the first thing that is not as it should be."""
        head = self.head()
        exported.overrides_of(head.connection)
        ids, names = set[str](), set[str]()
        variants = size_bytes = 0
        for item in self.items():
            _take(ids, item.id, f"the item {item.id!r}")
            variants += len(item.variants)
            for label, variant in item.variants.items():
                if variant.file is None:
                    continue
                _take(names, variant.file.lower(), f"the file {variant.file!r}")
                self._check_file(f"{item.id}/{label}", variant.file, variant)
                size_bytes += variant.size_bytes
        list_ids = self._check_lists()
        counted = (len(ids), variants, len(names), size_bytes, len(list_ids))
        if counted != (head.items, head.variants, head.files, head.file_bytes, head.lists):
            raise InvalidRequest(f"the export is not whole: it has other counts of items or files than {exported.HEAD}")
        return Expected(head, len(ids), len(names), size_bytes)

    def _check_lists(self) -> set[str]:
        list_ids = set[str]()
        for each in self.lists():
            _take(list_ids, each.id, f"the list {each.id!r}")
        for member in self.members():
            if member.list_id not in list_ids:
                raise InvalidRequest(f"{exported.MEMBERS} names the list {member.list_id!r}, which is not there")
        return list_ids

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """The bytes of a media file. Raises InvalidRequest, also for what became of a name since it was checked."""
        if not exported.is_media_name(name):
            raise InvalidRequest(f"{name!r} is a name that no export has")
        with self._file(name) as file:
            while data := file.read(_SLICE):
                yield data

    def _check_file(self, where: str, name: str, variant: ExportedVariant) -> None:
        if variant.sha256 is None or variant.status is not Status.STORED:
            raise InvalidRequest(f"{where} has a file, and is not stored or has no sha256")
        if not exported.is_media_name(name):
            raise InvalidRequest(f"{where} names {name!r}, which no export has")
        fd, _, found = self._source.opened(name)
        os.close(fd)
        if found != variant.size_bytes:
            raise InvalidRequest(f"{name} has {found} bytes, and the export says {variant.size_bytes}")

    def _lines(self, name: str, kind: type[T]) -> Iterator[T]:
        with self._file(name) as file:
            for number in range(1, _MOST_LINES + 2):
                line = file.readline(LONGEST_LINE + 1)
                if not line:
                    return
                yield exported.decoded(line, kind, f"line {number} of {name}")
        raise InvalidRequest(f"{name} has more than {_MOST_LINES} lines")

    @contextmanager
    def _file(self, name: str) -> Iterator[BinaryIO]:
        fd, offset, size_bytes = self._source.opened(name)
        try:
            yield io.BufferedReader(_Window(fd, offset, size_bytes), _SLICE)
        finally:
            os.close(fd)


class _Window(io.RawIOBase):
    """A part of a file, read without the position that others of its descriptor share."""

    def __init__(self, fd: int, offset: int, size_bytes: int) -> None:
        self._fd = fd
        self._position = offset
        self._end = offset + size_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            taken = os.preadv(self._fd, [memoryview(buffer)[: self._end - self._position]], self._position)
        except OSError as error:
            raise InvalidRequest(f"the export cannot be read: {error.strerror}") from error
        self._position += taken
        return taken


def _take(taken: set[str], name: str, what: str) -> None:
    if name in taken:
        raise InvalidRequest(f"{what} is twice in the export")
    taken.add(name)
