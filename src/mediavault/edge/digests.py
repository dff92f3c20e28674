"""What tells bytes from others: their SHA-256, and a checksum that costs a thirtieth of it.

The checksum is of what came from the origin, and says whether a file still has it: a cache syncs nothing, so what a
power cut left may be whole in size only. The SHA-256 is what viewers are told and what a blob is stored under. A small
object's is computed when it is asked for once more, or stored: most never are.
"""

import hashlib
import os
from pathlib import Path

import xxhash

from mediavault.edge.copies import EdgeCopy, open_whole
from mediavault.errors import BlobCorrupt

_READ_BYTES = 1 << 20


class Digests:
    """Both of a stream of bytes."""

    def __init__(self, *, with_sha256: bool) -> None:
        self._checksum = xxhash.xxh3_128()
        self._sha256 = hashlib.sha256() if with_sha256 else None

    def update(self, data: bytes | memoryview) -> None:
        """More bytes."""
        self._checksum.update(data)
        if self._sha256 is not None:
            self._sha256.update(data)

    @property
    def checksum(self) -> str:
        """XXH3, 128 bits, hex."""
        return self._checksum.hexdigest()

    @property
    def sha256(self) -> str | None:
        """Hex; None where nobody wanted it."""
        return None if self._sha256 is None else self._sha256.hexdigest()


def sha256_of(fd: int, size_bytes: int, checksum: str | None) -> str:
    """The SHA-256 of an open file's bytes, hex. Blocks. Raises BlobCorrupt where they are not those of the checksum."""
    digests, position = Digests(with_sha256=True), 0
    while position < size_bytes:
        try:
            piece = os.pread(fd, min(_READ_BYTES, size_bytes - position), position)
        except OSError as error:
            raise BlobCorrupt(f"an edge copy cannot be read: {error.strerror}") from error
        if not piece:
            raise BlobCorrupt(f"an edge copy ends at byte {position} of {size_bytes}")
        digests.update(piece)
        position += len(piece)
    if digests.sha256 is None or checksum not in {None, digests.checksum}:
        raise BlobCorrupt("an edge copy has other bytes than when it was filled")
    return digests.sha256


def open_copy(path: Path, copy: EdgeCopy) -> tuple[int, str] | None:
    """A descriptor of a copy's file, and its SHA-256, computed where it is not known yet.

    None where there is no such file, or it has other bytes than when it was filled. Raises OSError as `open_whole`.
    """
    fd = open_whole(path, copy.size_bytes)
    if fd is None:
        return None
    try:
        return fd, copy.sha256 or sha256_of(fd, copy.size_bytes, copy.checksum)
    except BlobCorrupt:
        os.close(fd)
        return None


def sha256_of_file(path: Path, size_bytes: int, checksum: str | None) -> str:
    """The same of a file by its name. Blocks. Raises BlobCorrupt, also where it is gone; OSError as `open_whole`."""
    fd = open_whole(path, size_bytes)
    if fd is None:
        raise BlobCorrupt(f"an edge copy of {size_bytes} bytes is not there")
    try:
        return sha256_of(fd, size_bytes, checksum)
    finally:
        os.close(fd)


def is_intact(path: Path, copy: EdgeCopy) -> bool:
    """Whether a copy's file has the bytes that it was filled with. Blocks."""
    try:
        return copy.sha256 in {None, sha256_of_file(path, copy.size_bytes, copy.checksum)}
    except (BlobCorrupt, OSError):
        return False
