"""Where an export is written: a folder, or a tar archive that takes its final name when it is whole.

Both can be continued: what an earlier run has written is read again, and kept where it has its size and digest.
"""

import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from mediavault.blobs.steps import make_folder, open_regular, sync_file, sync_folder, write_fully
from mediavault.domain.exported import DOCUMENTS, is_media_name
from mediavault.errors import BlobCorrupt, Conflict
from mediavault.vault.integrity.damaging import digest_of
from mediavault.vault.portable import tar_format

_SLICE = 1 << 20
#: Of a media file: its size, its digest (hex), its time (Unix ms).
Wanted = tuple[int, str, int]


class Target(Protocol):
    """Where files go. Every method may raise OSError."""

    def kept(self, wanted: Mapping[str, Wanted]) -> AsyncIterator[str]:
        """The names of those that are there already, whole. Called first."""
        ...

    async def write(self, name: str, wanted: Wanted, chunks: AsyncIterator[bytes]) -> None:
        """Write one. Raises BlobCorrupt where the bytes are not those; nothing of them stays then."""
        ...

    def spool(self, name: str) -> Path:
        """Where a document is put together before it is part of the export."""
        ...

    async def finish(self) -> None:
        """Take the spooled documents, the head last: the export is whole."""
        ...

    def close(self) -> None:
        """Let others write there."""
        ...


def open_target(path: Path) -> Target:
    """A tar archive where the name ends in `.tar`, else a folder. Raises Conflict while another export writes there."""
    return TarTarget(path) if path.suffix == ".tar" else FolderTarget(path)


def _locked(fd: int, path: Path) -> int:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise Conflict(f"another export writes to {path}") from None
    return fd


class FolderTarget:
    """A folder of one's own: an empty one, or one of an earlier export."""

    def __init__(self, root: Path) -> None:
        if root.exists() and any(root.iterdir()) and not any((root / name).exists() for name in _MARKS):
            raise Conflict(f"{root} has other things in it: export to an empty folder, or to one of an earlier export")
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _locked(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), root)
        self._root = root
        (root / _UNFINISHED).touch(mode=0o600)

    async def kept(self, wanted: Mapping[str, Wanted]) -> AsyncIterator[str]:
        """Those whose file has the right size and digest."""
        for name, (size_bytes, sha256, _) in wanted.items():
            if _has(self._root / name, size_bytes, sha256):
                yield name

    async def write(self, name: str, wanted: Wanted, chunks: AsyncIterator[bytes]) -> None:
        """Beside its place, then in it."""
        size_bytes, sha256, at = wanted
        path = self._root / name
        make_folder(self._root / "media")
        make_folder(path.parent)
        part = path.with_name(f".{path.name}.part")
        part.unlink(missing_ok=True)
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            await _copy(fd, chunks, size_bytes, sha256, name)
            os.utime(fd, ns=(at * 1_000_000, at * 1_000_000))
            sync_file(fd)
            part.rename(path)
        finally:
            os.close(fd)
            part.unlink(missing_ok=True)
        sync_folder(path.parent)

    def spool(self, name: str) -> Path:
        """Beside its place."""
        return self._root / f".{name}.part"

    async def finish(self) -> None:
        """Each by a rename, in the order in which they may be relied on."""
        for name in DOCUMENTS:
            _sync(self.spool(name))
            self.spool(name).rename(self._root / name)
            sync_folder(self._root)
        (self._root / _UNFINISHED).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._lock)


_UNFINISHED = ".unfinished"
_MARKS = (_UNFINISHED, "export.json")


class TarTarget:
    """An archive: media first, documents last, so that a later run can take those off and go on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not self._part.exists():
            _require_export(path)
            path.rename(self._part)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = _locked(os.open(self._part, flags, 0o600), self._part)
        self._end = 0

    async def kept(self, wanted: Mapping[str, Wanted]) -> AsyncIterator[str]:
        """Those at the archive's beginning that are as they should be; what comes behind is cut off."""
        seen: set[str] = set()
        for member in tar_format.members(self._fd, cut_short=True):
            size_bytes, sha256, _ = wanted.get(member.name, (-1, "", 0))
            if member.name in seen or member.size_bytes != size_bytes:
                break
            if _digest(self._fd, member.offset, member.size_bytes) != sha256:
                break
            if member.end > os.fstat(self._fd).st_size:
                break
            seen.add(member.name)
            self._end = member.end
            yield member.name
        os.ftruncate(self._fd, self._end)

    async def write(self, name: str, wanted: Wanted, chunks: AsyncIterator[bytes]) -> None:
        """At the end; taken back where the bytes are not those."""
        size_bytes, sha256, at = wanted
        os.lseek(self._fd, self._end, os.SEEK_SET)
        try:
            write_fully(self._fd, tar_format.header(name, size_bytes, at // 1000))
            await _copy(self._fd, chunks, size_bytes, sha256, name)
            write_fully(self._fd, bytes(tar_format.padded(size_bytes) - size_bytes))
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._fd, self._end)
            raise
        self._end += tar_format.BLOCK + tar_format.padded(size_bytes)

    def spool(self, name: str) -> Path:
        """Beside the archive."""
        return self._path.with_name(f".{self._path.name}.{name}.part")

    async def finish(self) -> None:
        """Append them, end the archive, give it its name."""
        for name in DOCUMENTS:
            path = self.spool(name)
            with path.open("rb") as file:
                size_bytes, sha256 = digest_of(file.fileno())
                await self.write(name, (size_bytes, sha256, _changed_at(path)), _slices(file))
            path.unlink()
        os.lseek(self._fd, self._end, os.SEEK_SET)
        write_fully(self._fd, tar_format.END)
        sync_file(self._fd)
        self._part.rename(self._path)
        sync_folder(self._path.parent)

    def close(self) -> None:
        """Let go of the archive."""
        os.close(self._fd)


def _require_export(path: Path) -> None:
    """Never take somebody's other file for an archive of ours: it would be cut off."""
    fd, _ = open_regular(path)
    try:
        for member in tar_format.members(fd, cut_short=True):
            if member.name in DOCUMENTS or is_media_name(member.name):
                return
    finally:
        os.close(fd)
    raise Conflict(f"{path} is there and is no export: choose another name")


def _changed_at(path: Path) -> int:
    return path.stat().st_mtime_ns // 1_000_000


async def _slices(file: BinaryIO) -> AsyncIterator[bytes]:
    while data := file.read(_SLICE):
        yield data


async def _copy(fd: int, chunks: AsyncIterator[bytes], size_bytes: int, sha256: str, name: str) -> None:
    digest, written = hashlib.sha256(), 0
    async for chunk in chunks:
        written += len(chunk)
        if written > size_bytes:
            break
        digest.update(chunk)
        write_fully(fd, chunk)
    if written != size_bytes or digest.hexdigest() != sha256:
        raise BlobCorrupt(f"the stored bytes of {name} are not those that were stored: `mediavault verify` says more")


def _has(path: Path, size_bytes: int, sha256: str) -> bool:
    try:
        fd, found = open_regular(path)
    except (OSError, BlobCorrupt):
        return False
    try:
        return found == size_bytes and digest_of(fd)[1] == sha256
    finally:
        os.close(fd)


def _digest(fd: int, offset: int, size_bytes: int) -> str:
    digest, position, end = hashlib.sha256(), offset, offset + size_bytes
    while position < end and (data := os.pread(fd, min(_SLICE, end - position), position)):
        digest.update(data)
        position += len(data)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sync_file(fd)
    finally:
        os.close(fd)
