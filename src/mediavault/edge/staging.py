"""A file that one fill is growing while viewers read it."""

import errno
import hashlib
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mediavault.edge.space import Space
from mediavault.errors import BlobUnavailable, DiskFull, VaultError

_FULL = {errno.ENOSPC, errno.EDQUOT}


def edge_error(error: OSError) -> VaultError:
    """What an OSError means to the users of the edge cache."""
    if error.errno in _FULL:
        return DiskFull(f"the edge cache: {error.strerror}; free some space on its disk")
    return BlobUnavailable(f"the edge cache: {error.strerror or error}")


class Staging:
    """The bytes of a fill so far. Made by `EdgeCache.stage`; one thread at a time appends.

    `fd` stays open for the viewers until `close`, whatever becomes of the name: whoever counts the viewers closes it
    after the last one. They read [0, written) with pread or sendfile, never moving the descriptor's own position.
    """

    def __init__(self, path: Path, space: Space, *, promised_bytes: int, growth_bytes: int) -> None:
        """Create the file. `promised_bytes` are set aside for it; beyond them it asks for `growth_bytes` at a time."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._path = path
        self._space = space
        self._promised_bytes = promised_bytes
        self._growth_bytes = growth_bytes
        self._written = 0
        self._sha256 = hashlib.sha256()
        self._growing = True
        self._lock = threading.Lock()  # close must not take the descriptor away from an append in another thread

    @property
    def fd(self) -> int:
        """The descriptor, open for reading and writing; -1 once closed."""
        return self._fd

    @property
    def path(self) -> Path:
        """Where the bytes are: in staging, or, once kept, among the copies."""
        return self._path

    @property
    def written(self) -> int:
        """How many bytes are there to be read."""
        return self._written

    def digest(self) -> str:
        """SHA-256 of what is written, hex."""
        return self._sha256.hexdigest()

    def append(self, data: bytes | memoryview | Sequence[bytes | memoryview]) -> None:
        """Write all of `data` at the end. Blocks: call it in a thread.

        Raises DiskFull (the device, or the floor), BlobUnavailable (the disk failed), ValueError after `keep`,
        `discard` or `close`. What was written before the error counts in `written` and `digest`.
        """
        with self._lock:
            if not self._growing:
                raise ValueError("this staging file does not grow any more")
            try:
                for part in [data] if isinstance(data, bytes | memoryview) else data:
                    self._write(memoryview(part).cast("B"))
            except OSError as error:
                raise edge_error(error) from error

    def move(self, target: Path) -> None:
        """Give the whole file its final name; nothing is appended from then on. Raises OSError."""
        with self._lock:
            if not self._growing:
                raise ValueError("this staging file was kept or discarded before")
            target.parent.mkdir(mode=0o700, exist_ok=True)
            self._path.rename(target)
            self._path = target
            self._settle()

    def discard(self) -> None:
        """Give up: remove the name, return the reserved space. The descriptor stays open; kept bytes stay kept."""
        with self._lock:
            if self._growing:
                self._settle()
                with suppress(OSError):  # the next start removes it
                    self._path.unlink()

    def close(self) -> None:
        """Close the descriptor, and discard unless kept. Closing twice is fine."""
        self.discard()
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    def _write(self, rest: memoryview) -> None:
        self._ask_for(len(rest))
        while rest:
            # The place is given with each write: the descriptor is shared.
            taken = os.pwrite(self._fd, rest, self._written)
            if taken == 0:
                raise OSError(errno.EIO, "the disk takes no more bytes and gives no reason")
            self._sha256.update(rest[:taken])
            self._written += taken
            self._promised_bytes -= taken
            self._space.release(taken)
            rest = rest[taken:]

    def _ask_for(self, size_bytes: int) -> None:
        missing = size_bytes - self._promised_bytes
        if missing > 0:
            growth = max(missing, self._growth_bytes)
            self._space.promise(growth)
            self._promised_bytes += growth

    def _settle(self) -> None:
        self._growing = False
        self._space.release(self._promised_bytes)
        self._promised_bytes = 0
