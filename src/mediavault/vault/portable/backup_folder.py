"""A folder of backups: snapshots of a catalog, and the blobs of all of them, each once.

    <folder>/.lock                           held by the one backup or prune that writes
    <folder>/.readers                        held by everybody who checks or restores; by a prune, alone
    <folder>/blobs/…                         as a vault's own folder of blobs (`blobs/disk.py`)
    <folder>/snapshots/<time>-<random>/
        manifest.json                        what this is; written last, before the folder takes its name
        blobs.jsonl                          every blob of the snapshot: key, size, digest
        catalog.sqlite                       the catalog, whatever engine it was on
        master.key                           only where it was asked for

A snapshot is put together under a name that begins with a dot, and renamed when all of it is durable.
"""

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec
from msgspec import Struct

from mediavault.blobs.steps import sync_folder
from mediavault.errors import Conflict, InvalidRequest, NotFound

VERSION = 1
CATALOG, BLOBS, MANIFEST, MASTER_KEY = "catalog.sqlite", "blobs.jsonl", "manifest.json", "master.key"
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}", re.ASCII)
_STAMP = len("20260131T235959Z")
#: What is said of a lock that cannot be made, and is not there.
_MAY_NOT_WRITE = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT}
_LARGEST_MANIFEST = 16 << 20


class FileFacts(Struct, frozen=True, rename="camel"):
    """A file of a snapshot."""

    size_bytes: int
    sha256: str


class BlobFacts(Struct, frozen=True, rename="camel"):
    """The blobs of a snapshot."""

    count: int
    size_bytes: int
    included: bool  #: whether their bytes are in this folder
    missing: dict[str, str]  #: key to why its bytes are not here although they should be
    list: FileFacts  #: of `blobs.jsonl`


class Manifest(Struct, frozen=True, rename="camel"):
    """`manifest.json`."""

    format: Literal["mediavault-backup"]
    version: int
    name: str
    created_at: int
    program: str
    database_schema: str
    engine: str  #: the snapshot was taken of
    catalog: FileFacts
    blobs: BlobFacts
    master_keys: tuple[str, ...]  #: ids of those that the secrets in it need
    master_key_included: bool


class BlobLine(Struct, frozen=True, rename="camel"):
    """A line of `blobs.jsonl`."""

    id: str
    organisation: str
    key: str
    size_bytes: int
    sha256: str


class BackupFolder:
    """One folder of backups."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._snapshots = path / "snapshots"
        self._lock = -1

    @property
    def blobs(self) -> Path:
        """The folder of the blobs."""
        return self.path / "blobs"

    def open(self) -> None:
        """Make it if need be, and keep other backups out of it. Raises Conflict for one that holds other things."""
        if self.path.exists() and not self._snapshots.is_dir() and any(self.path.iterdir()):
            raise Conflict(f"{self.path} has other things in it: back up to an empty folder, or to one of backups")
        for folder in (self.path, self._snapshots, self.blobs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _locked(self.path / ".lock", fcntl.LOCK_EX, f"another backup, or a prune, writes to {self.path}")
        # Made by who writes here: one that root made, looking at the backups first, would be closed to everybody else.
        os.close(_locked(self.path / ".readers", fcntl.LOCK_SH, f"a prune deletes from {self.path}"))
        self.sweep()

    def sweep(self) -> None:
        """Remove what has no name: of a backup or a prune that was killed. Only for who writes to the folder."""
        for left in self._snapshots.glob(".*"):
            if _NAME.fullmatch(left.name[1:]):
                shutil.rmtree(left)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Nothing is pruned meanwhile; backups go on. Raises NotFound, Conflict."""
        self.names()
        readers = -1
        try:
            readers = _locked(self.path / ".readers", fcntl.LOCK_SH, f"a prune deletes from {self.path}")
        except OSError as error:
            if error.errno not in _MAY_NOT_WRITE:
                raise  # else: who may not write to a folder can read it all the same
        try:
            yield
        finally:
            if readers >= 0:
                os.close(readers)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else is in it. Raises NotFound, Conflict."""
        self.names()
        held: list[int] = []
        try:
            for name in (".lock", ".readers"):
                held.append(_locked(self.path / name, fcntl.LOCK_EX, f"a backup, check or restore uses {self.path}"))
            yield
        finally:
            for fd in held:
                os.close(fd)

    def taken_at(self, name: str) -> int:
        """When a snapshot was taken, Unix ms, by its name. Raises InvalidRequest for a time that never was."""
        try:
            at = datetime.strptime(name[:_STAMP], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            raise InvalidRequest(f"{self._snapshots / name} is not named after a time: move it away") from None
        return int(at.timestamp()) * 1000

    def forget(self, names: Sequence[str]) -> None:
        """Remove snapshots. Their names go first and durably, so that none is ever there in part."""
        for name in names:
            (self._snapshots / name).rename(self._snapshots / f".{name}")
        sync_folder(self._snapshots)
        self.sweep()

    def close(self) -> None:
        """Let others in."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def begin(self, now: int) -> Path:
        """The folder of a new snapshot, under its name for the time being.

        No other one has its second, else chance would say which of the two is the latest.
        """
        at, taken = datetime.fromtimestamp(now // 1000, UTC), {name[:_STAMP] for name in self.names()}
        while f"{at:%Y%m%dT%H%M%SZ}" in taken:
            at += timedelta(seconds=1)
        folder = self._snapshots / f".{at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        folder.mkdir(mode=0o700)
        return folder

    def end(self, folder: Path) -> Path:
        """Give a snapshot, which is whole and durable, its name."""
        sync_folder(folder)
        final = folder.with_name(folder.name.removeprefix("."))
        folder.rename(final)
        sync_folder(self._snapshots)
        sync_folder(self.path)
        return final

    def names(self) -> list[str]:
        """Every snapshot, the oldest first. Raises NotFound where there is no folder of backups."""
        if not self._snapshots.is_dir():
            raise NotFound(f"there are no backups in {self.path}")
        return sorted(path.name for path in self._snapshots.iterdir() if _NAME.fullmatch(path.name))

    def snapshot(self, name: str) -> "Snapshot":
        """A snapshot by its name, or the `latest`. Raises NotFound, InvalidRequest."""
        names = self.names()
        if name == "latest" and names:
            name = names[-1]
        if name not in names:
            raise NotFound(f"there is no snapshot {name[:60]!r} in {self.path}: `mediavault backup list` shows them")
        return Snapshot(self._snapshots / name)


class Snapshot:
    """One snapshot, to be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.catalog = folder / CATALOG
        self.blobs = folder / BLOBS
        self.manifest = self._manifest()

    def _manifest(self) -> Manifest:
        try:
            with (self.folder / MANIFEST).open("rb") as file:
                manifest = msgspec.json.decode(file.read(_LARGEST_MANIFEST), type=Manifest)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(f"{self.folder / MANIFEST} cannot be read: {error}") from None
        if manifest.version != VERSION:
            raise InvalidRequest(f"the backup is of version {manifest.version}, and this program reads {VERSION}")
        return manifest

    def lines(self) -> Iterator[BlobLine]:
        """Every blob of it. Raises InvalidRequest."""
        decoder = msgspec.json.Decoder(BlobLine)
        try:
            with self.blobs.open("rb") as file:
                for line in file:
                    yield decoder.decode(line)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"{self.blobs} cannot be read: {error}") from None


def _locked(path: Path, how: int, refusal: str) -> int:
    """A descriptor that holds a lock. Raises Conflict where somebody else's is in the way, OSError."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        if how != fcntl.LOCK_SH:
            raise
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BaseException as error:
        os.close(fd)
        if isinstance(error, BlockingIOError):
            raise Conflict(refusal) from None
        raise
    return fd


def new_file(path: Path) -> BinaryIO:
    """A new file that is its owner's alone."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb")


def make_durable(file: BinaryIO) -> None:
    """Wait until what was written is on the device."""
    file.flush()
    os.fsync(file.fileno())
