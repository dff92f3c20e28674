"""The data folder: its lock, its master key, and who its storer is."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mediavault.errors import ConfigError, DataFolderLocked

MASTER_KEY_BYTES = 32


class DataFolder:
    """A folder of this process's own. Roles that are split over processes may share one; two of a role may not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._locks: list[int] = []
        with _clear_errors(f"the data folder {path} cannot be made"):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def lock(self, role: str) -> None:
        """Hold the folder for a role until `release`. Raises DataFolderLocked.

        The lock of a dead process is free, which proves that the leases it held are dead too.
        """
        if role == "all":
            self._take("lock", fcntl.LOCK_EX)
        else:
            self.visit()
            self._take(f"lock.{role}", fcntl.LOCK_EX)

    def visit(self) -> None:
        """Keep out who needs the folder alone, until `release`. Raises DataFolderLocked."""
        self._take("lock", fcntl.LOCK_SH)

    def _take(self, name: str, how: int) -> None:
        path = self.path / name
        with _clear_errors(f"{path} cannot be locked"):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, how | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            self.release()
            raise DataFolderLocked(f"another process holds {self.path}; stop it, or choose another --data") from None
        self._locks.append(fd)

    def release(self) -> None:
        """Let others have the folder."""
        for fd in self._locks:
            os.close(fd)
        self._locks.clear()

    def master_key(self) -> tuple[bytes, bool]:
        """The key in the folder, and whether it was made just now. Raises ConfigError for one that is no key."""
        path = self.path / "master.key"
        made = False
        with _clear_errors(f"{path} cannot be used"):
            with suppress(FileExistsError):
                write_new(path, secrets.token_bytes(MASTER_KEY_BYTES).hex() + "\n")
                made = True
            text = path.read_text(encoding="ascii", errors="replace")
        try:
            return parse_master_key(text), made
        except ConfigError as error:
            raise ConfigError(f"{path} is damaged: {error}; put it back from your backup") from None

    def forget_master_key(self) -> None:
        """Remove a key that was made just now and turned out to be the wrong one."""
        (self.path / "master.key").unlink()

    def storer_id(self) -> str:
        """Who holds the leases that this folder's storer takes; the same after a crash."""
        path = self.path / "storer.id"
        with _clear_errors(f"{path} cannot be used"):
            with suppress(FileExistsError):
                write_new(path, secrets.token_hex(16) + "\n")
            return path.read_text().strip()


@contextmanager
def _clear_errors(what: str) -> Iterator[None]:
    """The system's errors as the operator's: what cannot be done, and why."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{what}: {error.strerror}") from error


def write_new(path: Path, text: str) -> None:
    """Write a secret to a new file, 0600, durable, and whole or not at all. Raises FileExistsError."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _move_to_new(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _move_to_new(unfinished: Path, path: Path) -> None:
    """A link, unlike a rename, never replaces what is there; not every file system has links."""
    try:
        os.link(unfinished, path)
    except FileExistsError:
        raise
    except OSError:
        if path.exists():
            raise FileExistsError(path) from None
        unfinished.rename(path)


def parse_master_key(text: str) -> bytes:
    """64 hexadecimal digits. Raises ConfigError."""
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != MASTER_KEY_BYTES:
        raise ConfigError(f"the master key must be {2 * MASTER_KEY_BYTES} hexadecimal digits")
    return key
