"""The contract every blob store keeps. `tests/contract/test_blobs.py` checks it.

A BlobStore must provide:

* durability   once `put` or `adopt` returns, the blob survives a crash of this process, and of the machine
               where the backend is a disk of this machine; `delete` likewise;
* atomicity    nobody ever reads, lists or measures part of a blob that is still being written;
* nothing left a `put` or `adopt` that raises (or is cancelled before its last step) leaves no blob and no
               staging; what a crash leaves is found by `sweep_staging`;
* read-after-write   a blob is readable and listed as soon as `put` or `adopt` returns;
* idempotence  putting or adopting the same key twice, or deleting a missing one, succeeds;
* one failure, one answer   a failed fsync is never tried again: the kernel may have dropped the bytes and would
               report success. The blob is discarded and the caller fetches it anew.

Errors, for every method: InvalidRequest (not a key), DiskFull (the device or a quota is full), BlobUnavailable (may
work later). What a method adds is said beside it.
"""

import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NewType, Protocol

from mediavault.errors import InvalidRequest

BlobKey = NewType("BlobKey", str)

_KEY = re.compile(r"(?:[a-z0-9]{1,64}/)?[a-z0-9]{1,64}")


def blob_key(org_id: str, blob_id: str) -> BlobKey:
    """The key of an organisation's blob. Raises InvalidRequest unless both are `[a-z0-9]{1,64}`."""
    return require_key(BlobKey(f"{org_id}/{blob_id}"))


def is_key(text: str) -> bool:
    """Whether `text` is `[a-z0-9]{1,64}`, with or without an organisation's id and a slash before it."""
    return _KEY.fullmatch(text) is not None


def require_key(key: BlobKey) -> BlobKey:
    """The key itself. Raises InvalidRequest: every backend asks at its door, since keys become paths."""
    if not is_key(key):
        raise InvalidRequest(f"not a blob key: {key!r}; a key is [a-z0-9]{{1,64}}, after an organisation's id and a /")
    return key


def require_slice(start: int, length: int | None) -> None:
    """Refuse a negative start or length (bytes) with InvalidRequest."""
    if start < 0 or (length is not None and length < 0):
        raise InvalidRequest(f"not a part of a blob: start {start}, length {length}")


@dataclass(frozen=True)
class Blob:
    """A blob as it was measured in the store."""

    key: BlobKey
    size_bytes: int
    sha256: str  #: hex


@dataclass
class BlobFile:
    """An open local file that holds a whole blob, for sendfile and pread. Its opener closes it."""

    fd: int
    size_bytes: int

    def close(self) -> None:
        """Close the descriptor; closing twice is fine."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class BlobStore(Protocol):
    """Durable bytes under keys."""

    async def put(self, key: BlobKey, body: AsyncIterator[bytes], *, limit_bytes: int | None = None) -> Blob:
        """Write a whole blob; return its measured size and digest.

        Raises LimitReached as soon as `body` exceeds `limit_bytes`. An exception of `body` passes through unchanged;
        whoever made `body` closes it.
        """
        ...

    async def adopt(self, key: BlobKey, path: Path, *, size_bytes: int) -> None:
        """Make the bytes of a complete local file durable under `key`.

        `path` stays where it is, and its owner removes it; but nobody may write to that file any more, for the blob may
        be the same file under a second name. Raises BlobCorrupt where `path` is no regular file of `size_bytes`.
        After BlobUnavailable or DiskFull the bytes at `path` are not to be trusted either: an fsync of theirs may have
        failed.
        """
        ...

    def open_file(self, key: BlobKey) -> BlobFile | None:
        """Open a blob's local file; None from a backend that has no local files.

        Does not block longer than an open of a local file. Raises BlobNotFound, or BlobCorrupt where there is
        something other than a regular file (a symbolic link is not followed).
        """
        ...

    def read(self, key: BlobKey, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """Read a blob, or the part of it that lies within `length` bytes from `start`; past the end is nothing.

        The first step raises as `open_file` does; a blob that ends before its size raises BlobCorrupt. Close the
        generator (`contextlib.aclosing`) to give up early.
        """
        ...

    async def measure(self, key: BlobKey) -> Blob:
        """Read the whole blob for its size and digest. Raises as `read` does."""
        ...

    async def delete(self, key: BlobKey) -> None:
        """Forget a blob. A missing blob is already forgotten."""
        ...

    async def set_aside(self, key: BlobKey) -> bool:
        """Move what lies under a key to where no key leads, for people to look at; False where nothing lies there.

        Also what is no regular file. It is never read, listed, swept or deleted from then on.
        """
        ...

    def keys(self) -> AsyncGenerator[BlobKey, None]:
        """List every key, in no order. Keys put or deleted meanwhile may or may not be listed."""
        ...

    async def check_writable(self) -> None:
        """Write, read back and delete a probe; returns only if all of that works."""
        ...

    def free_bytes(self) -> int | None:
        """Bytes this process may still write here; None where nobody can say."""
        ...

    async def sweep_staging(self, older_than_seconds: float) -> int:
        """Remove what crashed writers left behind, unless it changed within `older_than_seconds`; how many it was.

        The age must exceed the longest pause of a live writer.
        """
        ...

    async def leftovers(self, older_than_seconds: float) -> Sequence[str]:
        """The names of what `sweep_staging` would remove."""
        ...
