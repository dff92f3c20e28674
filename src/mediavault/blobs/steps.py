"""The steps of the store protocol on a local disk: a named function for each system call.

They block and raise OSError; `in_thread` is the door through which the rest of the room calls them. The names are what
fault tests aim at.
"""

import asyncio
import errno
import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from mediavault.errors import BlobCorrupt, BlobUnavailable, DiskFull, VaultError

T = TypeVar("T")

_FULL = {errno.ENOSPC, errno.EDQUOT}

#: What open, rename and unlink say of a symbolic link, a socket and a directory.
_NOT_A_FILE = {errno.ELOOP, errno.ENXIO, errno.EISDIR}

#: Why a second name cannot be made although the file can be read: another file system, one without hard links,
#: too many links, or a file of another user's.
_CANNOT_LINK = {errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EPERM}

#: `ioctl` of Linux: share the blocks of another file. Elsewhere the number means nothing, and that is what is answered.
_FICLONE = 0x40049409
#: Why two files cannot share blocks although both are fine: another file system, or one that cannot.
_CANNOT_CLONE = {
    *(errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EINVAL, errno.EPERM, errno.ETXTBSY),
}


async def in_thread(subject: str, step: Callable[..., T], *arguments: object) -> T:
    """Run a blocking step in a thread and translate its OSError; `subject` is what the message names.

    A cancelled caller still waits for the step's end. It would close the descriptor otherwise, and the step would go on
    writing into whatever file the kernel gives that number to next.
    """
    running = asyncio.get_running_loop().run_in_executor(None, partial(step, *arguments))
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    failure = running.exception()
    if cancelled:
        raise cancelled
    if isinstance(failure, OSError):
        raise blob_error(subject, failure) from failure
    return running.result()


def blob_error(subject: str, error: OSError) -> VaultError:
    """What an OSError means to the users of a blob store."""
    message = f"{subject}: {error.strerror or error}"
    if error.errno in _FULL:
        return DiskFull(f"{message}; free some space where the blobs are kept")
    if error.errno in _NOT_A_FILE:
        return BlobCorrupt(message)
    return BlobUnavailable(message)


def create_file(path: Path) -> int:
    """Create a file that did not exist, for writing and reading back."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def open_regular(path: Path | str, *, dir_fd: int | None = None) -> tuple[int, int]:
    """Open a regular file for reading: its descriptor and its size in bytes. Raises BlobCorrupt if it is no such."""
    # O_NONBLOCK: a FIFO lying there would hold the open until somebody wrote to it.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise BlobCorrupt(f"{Path(path).name} is not a regular file")
    except BaseException:
        os.close(fd)
        raise
    return fd, status.st_size


def write_fully(fd: int, data: bytes) -> None:
    """Write all of `data`, however little the kernel takes at a time."""
    rest = memoryview(data)
    while rest:
        written = os.write(fd, rest)
        if written == 0:
            raise OSError(errno.EIO, "the disk takes no more bytes and gives no reason")
        rest = rest[written:]


def link_file(source: Path, target: Path) -> bool:
    """Give a file a second name; False where only a copy will do."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno in _CANNOT_LINK:
            return False
        raise
    return True


def clone_file(source_fd: int, target_fd: int) -> bool:
    """Let an empty file share another one's blocks until either is written to; False where only a copy will do."""
    try:
        fcntl.ioctl(target_fd, _FICLONE, source_fd)
    except OSError as error:
        if error.errno in _CANNOT_CLONE:
            return False
        raise
    return True


def restrict_file(fd: int) -> None:
    """Let nobody but the vault's user read the file, whoever made it."""
    os.fchmod(fd, 0o600)


def sync_file(fd: int) -> None:
    """Wait until the file's bytes are on the device."""
    os.fsync(fd)


def rename_file(source: Path, target: Path) -> None:
    """Give the file its final name, replacing what had it."""
    os.rename(source, target)  # noqa: PTH104  # the system call itself is the step


def make_folder(folder: Path) -> bool:
    """Make a folder; False if it was there."""
    try:
        os.mkdir(folder, 0o700)  # noqa: PTH102  # as above
    except FileExistsError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Wait until the names in the folder are on the device."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def unlink_file(path: Path) -> None:
    """Remove a name; a missing one is fine."""
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108  # as above
