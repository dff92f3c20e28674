"""The data folder: its lock, its master key, and who its storer is."""

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mediavault.errors import ConfigError, Conflict, DataFolderLocked
from mediavault.folders import make_durable, sync_folder

MASTER_KEY_BYTES = 32
#: Names the snapshot while a restore fills the folder.
_RESTORING = "restore.unfinished"


class DataFolder:
    """A folder of this process's own. Roles that are split over processes may share one; two of a role may not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._locks: list[int] = []
        with _clear_errors(f"the data folder {path} cannot be made"):
            _refuse_file(path)
            _make_private(path)

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

    def begin_restore(self, snapshot: str) -> None:
        """Let this folder, which is locked and empty, be filled from a backup; or go on where that was cut short.

        Until `end_restore` nobody serves it. Raises Conflict.
        """
        marker = self.path / _RESTORING
        if marker.exists():
            begun = marker.read_text().strip()
            if begun != snapshot:
                raise Conflict(f"{self.path} is being restored from {begun}: go on with that, or empty the folder")
            return
        others = sorted(path.name for path in self.path.iterdir() if path.name not in {"lock", "lost+found"})
        if others:
            raise Conflict(f"{self.path} is not empty ({others[0]}): restore into a new folder")
        with _clear_errors(f"{marker} cannot be written"):
            write_new(marker, snapshot + "\n")

    def end_restore(self) -> None:
        """All is there: it may be served."""
        (self.path / _RESTORING).unlink()
        sync_folder(self.path)

    def require_whole(self) -> None:
        """Raise ConfigError where a restore was cut short: what is here is a part of a vault."""
        if (self.path / _RESTORING).exists():
            raise ConfigError(f"a restore into {self.path} was cut short: run `mediavault backup restore` again")

    def master_keys(self) -> tuple[tuple[bytes, ...], bool]:
        """The keys in the folder, and whether the first was made just now. Raises ConfigError for what is no key.

        One a line; the first seals, the others only open.
        """
        path = self.path / "master.key"
        made = False
        with _clear_errors(f"{path} cannot be used"):
            with suppress(FileExistsError):
                write_new(path, secrets.token_bytes(MASTER_KEY_BYTES).hex() + "\n")
                made = True
            return self._read_master_keys(), made

    def _read_master_keys(self) -> tuple[bytes, ...]:
        path = self.path / "master.key"
        first, _, others = path.read_text(encoding="ascii", errors="replace").partition("\n")
        _refuse_open_door(path)
        try:
            return (parse_master_key(first), *parse_master_keys(others))
        except ConfigError as error:
            raise ConfigError(f"{path} is damaged: {error}; put it back from your backup") from None

    def keep_master_keys(self, before: tuple[bytes, ...], keys: tuple[bytes, ...]) -> None:
        """Replace the keys, durably and at once. Raises ConfigError, where another process did so since they were read.

        A key that is lost takes what it sealed with it: two rotations at once must not forget each other's.
        """
        with _clear_errors(f"{self.path / 'master.key'} cannot be written"):
            fd = os.open(self.path / "lock.master-key", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                if self._read_master_keys() != before:
                    raise ConfigError(
                        "the master keys were changed by another process meanwhile; restart, and try again"
                    )
                self._replace_master_keys(keys)
            finally:
                os.close(fd)

    def _replace_master_keys(self, keys: tuple[bytes, ...]) -> None:
        path = self.path / "master.key"
        unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            write_new(unfinished, "".join(f"{key.hex()}\n" for key in keys))
            unfinished.rename(path)
            sync_folder(self.path)
        finally:
            unfinished.unlink(missing_ok=True)

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
    sync_folder(path.parent)


def _refuse_file(path: Path) -> None:
    """A file where a folder is to be is a slip that the system's own words say little of. Raises ConfigError."""
    lowest = next(each for each in (path, *path.absolute().parents) if each.exists() or each.is_symlink())
    if not lowest.is_dir():
        raise ConfigError(
            f"{lowest} is no folder, and the vault keeps its data in one: name a folder with --data or MEDIAVAULT_DATA "
            "(it is made if it is not there), or move the file away"
        )


def _make_private(path: Path) -> None:
    """Make a folder that is its owner's alone, whatever the umask; one of ours that was opened to others is closed.

    What else is there is left as it is: it may be anybody's, `/tmp` too. The files in it are private by themselves.
    """
    try:
        make_durable(path.parent)
        path.mkdir(mode=0o700)
        sync_folder(path.parent)
    except FileExistsError:
        if not path.is_dir():
            raise
        if path.stat().st_uid != os.geteuid() or not ((path / "lock").exists() or not any(path.iterdir())):
            return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077 and not mode & stat.S_ISVTX:
        path.chmod(0o700)


def _refuse_open_door(path: Path) -> None:
    """A key that everybody on the machine can read is no secret. Raises ConfigError."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o007:
        raise ConfigError(
            f"{path} is open to everybody on this machine (mode {mode:04o}): chmod 600 it, "
            "and if somebody may have read it, run `mediavault master-key rotate`"
        )


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


def parse_master_keys(text: str) -> tuple[bytes, ...]:
    """Keys apart by commas, spaces or lines. Raises ConfigError."""
    return tuple(map(parse_master_key, text.replace(",", " ").split()))
