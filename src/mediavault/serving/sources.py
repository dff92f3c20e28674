"""Sources of bytes: a blob, an edge copy or a growing file. What they hold in common is all that a response needs."""

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from mediavault.blobs.store import BlobFile, BlobKey, BlobStore
from mediavault.domain.byte_ranges import Slice
from mediavault.domain.responding import Representation
from mediavault.errors import BlobCorrupt
from mediavault.vault.fill import Fill

CHUNK_BYTES = 256 * 1024


class Source(Protocol):
    """Bytes of one version of a variant."""

    representation: Representation

    def chunks(self, piece: Slice) -> AsyncGenerator[bytes, None]:
        """The bytes of a slice, each chunk at most CHUNK_BYTES. Raises when they cannot all be had."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


class FileSource:
    """A complete local file."""

    def __init__(self, file: BlobFile, representation: Representation) -> None:
        self._file = file
        self.representation = representation

    async def chunks(self, piece: Slice) -> AsyncGenerator[bytes, None]:
        """Read inline: the page cache answers in microseconds, a thread hop would cost more."""
        position, end = piece.start, piece.start + piece.length
        while position < end:
            chunk = os.pread(self._file.fd, min(CHUNK_BYTES, end - position), position)
            if not chunk:
                raise BlobCorrupt("a stored file ends before its size")
            position += len(chunk)
            yield chunk

    def close(self) -> None:
        """Close the descriptor."""
        self._file.close()


class RemoteSource:
    """A blob in a store that has no local files."""

    def __init__(self, blobs: BlobStore, key: BlobKey, representation: Representation) -> None:
        self._blobs = blobs
        self._key = key
        self.representation = representation

    async def chunks(self, piece: Slice) -> AsyncGenerator[bytes, None]:
        """What the store yields, cut to size."""
        async with aclosing(self._blobs.read(self._key, piece.start, piece.length)) as parts:
            async for part in parts:
                for start in range(0, len(part), CHUNK_BYTES):
                    yield part[start : start + CHUNK_BYTES]

    def close(self) -> None:
        """Nothing is held."""


class FillSource:
    """The growing file of a fill that runs."""

    def __init__(self, fill: Fill, representation: Representation) -> None:
        self._fill = fill
        self.representation = representation

    async def chunks(self, piece: Slice) -> AsyncGenerator[bytes, None]:
        """As they arrive. Raises what the fill failed with."""
        position, end = piece.start, piece.start + piece.length
        while position < end:
            available = await self._fill.available(position)
            if available == 0:
                return  # only a slice of unknown length reaches past the end
            chunk = self._fill.read(position, min(CHUNK_BYTES, available, end - position))
            position += len(chunk)
            yield chunk

    def close(self) -> None:
        """One reader fewer."""
        self._fill.leave()
