"""The data folder: its lock, its master key, and who its storer is."""

import fcntl
import os
import secrets
from contextlib import suppress
from pathlib import Path

from mediavault.errors import ConfigError, DataFolderLocked

MASTER_KEY_BYTES = 32


class DataFolder:
    """A folder of this process's own. Roles that are split over processes may share one; two of a role may not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._locks: list[int] = []
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigError(f"the data folder {path} cannot be made: {error.strerror}") from error

    def lock(self, role: str) -> None:
        """Hold the folder for a role until `release`. Raises DataFolderLocked.

        The lock of a dead process is free, which proves that the leases it held are dead too.
        """
        shared = role != "all"
        self._take("lock", fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        if shared:
            self._take(f"lock.{role}", fcntl.LOCK_EX)

    def _take(self, name: str, how: int) -> None:
        fd = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, how | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
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
        with suppress(FileExistsError):
            write_new(path, secrets.token_bytes(MASTER_KEY_BYTES).hex() + "\n")
            return parse_master_key(path.read_text()), True
        return parse_master_key(path.read_text()), False

    def storer_id(self) -> str:
        """Who holds the leases that this folder's storer takes; the same after a crash."""
        path = self.path / "storer.id"
        with suppress(FileExistsError):
            write_new(path, secrets.token_hex(16) + "\n")
        return path.read_text().strip()


def write_new(path: Path, text: str) -> None:
    """Write a secret to a new file, 0600 and durable. Raises FileExistsError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def parse_master_key(text: str) -> bytes:
    """64 hexadecimal digits. Raises ConfigError."""
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != MASTER_KEY_BYTES:
        raise ConfigError(f"the master key must be {2 * MASTER_KEY_BYTES} hexadecimal digits")
    return key
