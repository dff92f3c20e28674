"""A blob on its way into the local store, under a name of its own in the staging folder."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mediavault.blobs import steps
from mediavault.errors import BlobCorrupt

#: How much is read, hashed or written in one visit to a thread, bytes.
SLICE_BYTES = 1 << 20


class StagedFile:
    """The staging file of one write. Every method blocks; `discard` is right at any point and always last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = -1
        self.size_bytes = 0
        self._digest = hashlib.sha256()

    def create(self) -> None:
        """Start with an empty file."""
        self.fd = steps.create_file(self.path)

    def link(self, source: Path) -> bool:
        """Start as a second name of `source`; False where it must be copied."""
        if not steps.link_file(source, self.path):
            return False
        self.fd, self.size_bytes = steps.open_regular(self.path)
        steps.restrict_file(self.fd)
        return True

    def clone(self, source_fd: int) -> bool:
        """Start as another file that shares the blocks of one; False, and nothing is there, where it must be copied."""
        self.create()
        if not steps.clone_file(source_fd, self.fd):
            self.discard()
            return False
        return True

    def hash_slice(self) -> int:
        """Read the next slice of what is there already; 0 at its end."""
        taken = hash_slice(self.fd, self.size_bytes, self._digest.update)
        self.size_bytes += taken
        return taken

    def write(self, chunks: list[bytes]) -> None:
        """Append the chunks, hashing them."""
        for chunk in chunks:
            steps.write_fully(self.fd, chunk)
            self._digest.update(chunk)
            self.size_bytes += len(chunk)

    def copy_slice(self, source_fd: int) -> int:
        """Append the next slice of another file; 0 at its end."""
        data = os.read(source_fd, SLICE_BYTES)
        steps.write_fully(self.fd, data)
        self.size_bytes += len(data)
        return len(data)

    def require_size(self, size_bytes: int) -> None:
        """Raise BlobCorrupt unless the file has exactly `size_bytes`."""
        found = os.fstat(self.fd).st_size
        if not found == self.size_bytes == size_bytes:
            raise BlobCorrupt(f"{found} bytes arrived where {size_bytes} were announced")

    def sha256(self) -> str:
        """The digest of what `write` was given, or `hash_slice` read, hex."""
        return self._digest.hexdigest()

    def discard(self) -> None:
        """Close the file and remove its staging name.

        Also after the rename: renaming onto another name of the same file leaves both (POSIX rename). What cannot be
        removed now is the sweep's.
        """
        fd, self.fd = self.fd, -1
        with suppress(OSError):
            if fd >= 0:
                os.close(fd)
        with suppress(OSError):
            steps.unlink_file(self.path)


def hash_slice(fd: int, position: int, update: Callable[[bytes], None]) -> int:
    """Read the slice of an open file at a position, and `update` a digest with it; its length, 0 at the end."""
    data = os.pread(fd, SLICE_BYTES, position)
    update(data)
    return len(data)
