"""A file that one fill is growing while viewers read it, at its end and, for those who seek, beyond it."""

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mediavault.edge.digests import Digests
from mediavault.edge.space import Share
from mediavault.errors import BlobUnavailable, DiskFull, VaultError

_FULL = {errno.ENOSPC, errno.EDQUOT}
#: Read back at a time: the lock is held meanwhile.
_ABSORBED_BYTES = 4 << 20
_READ_BYTES = 1 << 20
_MOST_PARTS = 64  #: of one write; every system takes more


def edge_error(error: OSError) -> VaultError:
    """What an OSError means to the users of the edge cache."""
    if error.errno in _FULL:
        return DiskFull(f"the edge cache: {error.strerror}; free some space on its disk")
    return BlobUnavailable(f"the edge cache: {error.strerror or error}")


class Staging:
    """The bytes of a fill so far. Made by `EdgeCache.stage`; threads write one after the other.

    `fd` stays open for the viewers until `close`, whatever becomes of the name: whoever counts the viewers closes it
    after the last one. They read what is there with pread or sendfile, never moving the descriptor's own position.
    The file is sparse where nothing was written; whoever writes knows which bytes are there.
    """

    def __init__(
        self, path: Path, share: Share, *, promised_bytes: int, growth_bytes: int, with_sha256: bool = True
    ) -> None:
        """Create the file. `promised_bytes` are set aside for it; beyond them it asks for `growth_bytes` at a time."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._path = path
        self.share = share  #: of the disk and the capacity; ends when the file is kept or discarded
        self._promised_bytes = promised_bytes
        self._growth_bytes = growth_bytes
        self._written = 0
        self._digests = Digests(with_sha256=with_sha256)
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
        """How many bytes there are from the first one on, hashed."""
        return self._written

    def digest(self) -> str | None:
        """SHA-256 of the first `written` bytes, hex; None where nobody wanted it when the fill began."""
        return self._digests.sha256

    def checksum(self) -> str:
        """Their XXH3, hex."""
        return self._digests.checksum

    def append(self, data: bytes | memoryview | Sequence[bytes | memoryview]) -> None:
        """Write all of `data` at the end. Blocks: call it in a thread.

        Raises DiskFull (the device, or the floor), BlobUnavailable (the disk failed), ValueError after `keep`,
        `discard` or `close`. What was written before the error counts in `written` and `digest`.
        """
        with self._changing():
            self._write(_parts(data), self._written)

    def write(self, offset: int, data: bytes | memoryview | Sequence[bytes]) -> None:
        """Write `data` there; what is hashed already stays as it is. Blocks and raises as `append`."""
        parts = _parts(data)
        with self._changing():
            known = min(max(0, self._written - offset), sum(map(len, parts)))
            self._write(_without(parts, known), offset + known)

    def absorb(self, stop: int) -> None:
        """Count and hash what was written beyond `written`, up to `stop`, by reading it back. Blocks.

        Raises BlobUnavailable (the disk failed), ValueError as `append`.
        """
        while self._written < stop:
            with self._changing():
                self._absorb(min(stop, self._written + _ABSORBED_BYTES))

    def read(self, offset: int, length: int) -> bytes:
        """At most so many bytes from there on, of what the caller knows is there. Raises BlobUnavailable."""
        try:
            return os.pread(self._fd, length, offset)
        except OSError as error:
            raise edge_error(error) from error

    def release_unused(self) -> None:
        """Return the space that was set aside and is not written yet; more is asked for when it is needed."""
        with self._lock:
            self.share.give_back(self._promised_bytes)
            self._promised_bytes = 0

    def move(self, target: Path) -> None:
        """Give the whole file its final name; nothing is appended from then on. Raises OSError."""
        with self._lock:
            if not self._growing:
                raise ValueError("this staging file was kept or discarded before")
            try:
                self._path.rename(target)
            except FileNotFoundError:
                target.parent.mkdir(mode=0o700, exist_ok=True)
                self._path.rename(target)
            self._path = target
            self._settle()

    def discard(self) -> None:
        """Give up: remove the name, return the reserved space. The descriptor stays open; kept bytes stay kept."""
        with self._lock:
            if self._growing:
                self._settle()
                self.share.end()
                with suppress(OSError):  # the next start removes it
                    self._path.unlink()

    def close(self) -> None:
        """Close the descriptor, and discard unless kept. Closing twice is fine."""
        self.discard()
        with self._lock:
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._lock:
            if not self._growing:
                raise ValueError("this staging file does not grow any more")
            try:
                yield
            except OSError as error:
                raise edge_error(error) from error

    def _write(self, parts: list[memoryview], offset: int) -> None:
        """One call for all parts: the page cache holds what comes together in larger pieces, which are sent quicker."""
        self._ask_for(sum(map(len, parts)))
        while parts:
            # The place is given with each write: the descriptor is shared.
            taken = os.pwritev(self._fd, parts[:_MOST_PARTS], offset)
            if taken == 0:
                raise OSError(errno.EIO, "the disk takes no more bytes and gives no reason")
            if offset == self._written:
                self._hash(parts, taken)
            self._promised_bytes -= taken
            self.share.release(taken)
            parts, offset = _without(parts, taken), offset + taken

    def _hash(self, parts: list[memoryview], size_bytes: int) -> None:
        self._written += size_bytes
        for part in parts:
            self._digests.update(part[:size_bytes])
            size_bytes -= min(size_bytes, len(part))
            if size_bytes == 0:
                return

    def _absorb(self, stop: int) -> None:
        while self._written < stop:
            held = os.pread(self._fd, min(_READ_BYTES, stop - self._written), self._written)
            if not held:
                raise OSError(errno.EIO, "the staging file ends before what was written to it")
            self._digests.update(held)
            self._written += len(held)

    def _ask_for(self, size_bytes: int) -> None:
        missing = size_bytes - self._promised_bytes
        if missing > 0:
            growth = max(missing, self._growth_bytes)
            self.share.promise(growth)
            self._promised_bytes += growth

    def _settle(self) -> None:
        self._growing = False
        self.share.give_back(self._promised_bytes)
        self._promised_bytes = 0


def _parts(data: bytes | memoryview | Sequence[bytes | memoryview]) -> list[memoryview]:
    given = [data] if isinstance(data, bytes | memoryview) else data
    return [memoryview(part).cast("B") for part in given if part]


def _without(parts: list[memoryview], size_bytes: int) -> list[memoryview]:
    """What is left behind the first bytes."""
    for number, part in enumerate(parts):
        if size_bytes < len(part):
            return [part[size_bytes:], *parts[number + 1 :]] if size_bytes else parts[number:]
        size_bytes -= len(part)
    return []
