"""Sources of bytes: a blob, an edge copy, a growing file, or an answer that passes through.

A source that has a file here says so with its descriptor, and how much of the file may be read; its bytes go out
without passing through this process. Any other yields chunks.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from functools import lru_cache
from typing import Protocol

from mediavault.blobs.store import BlobFile, BlobKey, BlobStore
from mediavault.domain.byte_ranges import Slice
from mediavault.domain.responding import Representation
from mediavault.edge.copies import OpenCopy
from mediavault.errors import BlobCorrupt
from mediavault.serving.outlet import CHUNK_BYTES
from mediavault.vault.fills.fill import Fill

#: After so much at most, a fill is told how far its reader is.
_STEP_BYTES = 1 << 20
#: Representations that need not be described anew.
_REMEMBERED = 4096


class Local(Protocol):
    """Bytes of one version of a variant in a file of this machine, which may still grow."""

    representation: Representation

    @property
    def fd(self) -> int:
        """The file, open until `close`."""
        ...

    async def available(self, position: int, until: int | None) -> int:
        """Wait for bytes at `position`, to be read up to `until` (None: to the end): how many, 0 at the end.

        Raises when they cannot be had.
        """
        ...

    def close(self) -> None:
        """Let go of the file; closing twice is fine."""
        ...


class Streamed(ABC):
    """Bytes that come from elsewhere."""

    @abstractmethod
    def chunks(self, piece: Slice) -> AsyncGenerator[bytes, None]:
        """The bytes of a slice, each chunk at most CHUNK_BYTES. Raises when they cannot all be had."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of where they come from; also needed where no chunk was asked for."""


class FileSource:
    """A complete local file."""

    def __init__(self, file: BlobFile | OpenCopy, representation: Representation) -> None:
        self._file = file
        self._readers = 1
        self.representation = representation

    def share(self) -> None:
        """One reader more: the file stays open until each has closed it."""
        self._readers += 1

    @property
    def fd(self) -> int:
        """The open file."""
        return self._file.fd

    def read_and_close(self, piece: Slice) -> bytes:
        """A slice in one read: the page cache answers in microseconds, a thread hop would cost more.

        Raises BlobCorrupt.
        """
        try:
            content = os.pread(self.fd, piece.length, piece.start)
        except OSError as error:
            raise BlobCorrupt(f"a file cannot be read: {error.strerror}") from error
        finally:
            self.close()
        if len(content) != piece.length:
            raise BlobCorrupt("a file ends before its size")
        return content

    async def available(self, position: int, until: int | None) -> int:  # noqa: ARG002 - all of it is there
        """All the rest."""
        return self._file.size_bytes - position

    def close(self) -> None:
        """One reader fewer; the last closes the descriptor."""
        self._readers -= 1
        if self._readers <= 0:
            self._file.close()


class StoredBlob:
    """A blob of which nothing is open yet: a HEAD or a 304 needs nothing of it."""

    def __init__(self, blobs: BlobStore, key: BlobKey, size_bytes: int, representation: Representation) -> None:
        self._blobs = blobs
        self.key = key
        self._size_bytes = size_bytes
        self.representation = representation

    def open(self) -> "FileSource | RemoteSource":
        """Its file here, or where it lies. Raises BlobError."""
        file = self._blobs.open_file(self.key)
        if file is None:
            return RemoteSource(self._blobs, self.key, self.representation)
        if file.size_bytes != self._size_bytes:
            file.close()
            raise BlobCorrupt(f"the blob {self.key} has {file.size_bytes} bytes instead of {self._size_bytes}")
        return FileSource(file, self.representation)

    def close(self) -> None:
        """Nothing is held."""


class FillSource:
    """The growing file of a fill that runs."""

    def __init__(self, fill: Fill, representation: Representation) -> None:
        self._fill = fill
        self._joined = True
        self.representation = representation

    @property
    def fd(self) -> int:
        """The staging file: it stays open while this reader is joined."""
        return self._fill.fd

    async def available(self, position: int, until: int | None) -> int:
        """As it arrives. Raises what the fill failed with.

        Of what nobody wants whole a step at a time: the fill goes on as far ahead as it is told that it is read.
        """
        held = await self._fill.available(position, until)
        return held if self._fill.whole else min(held, _STEP_BYTES)

    def close(self) -> None:
        """One reader fewer."""
        if self._joined:
            self._joined = False
            self._fill.leave()


class RemoteSource(Streamed):
    """A blob in a store that has no local files."""

    def __init__(self, blobs: BlobStore, key: BlobKey, representation: Representation) -> None:
        self._blobs = blobs
        self._key = key
        self._begun: tuple[bytes, AsyncGenerator[bytes, None]] | None = None
        self._doubt: Callable[[], Awaitable[object]] | None = None
        self.representation = representation

    def doubted_by(self, doubt: Callable[[], Awaitable[object]]) -> None:
        """Who is to look at the blob where it turns out to be shorter than it should be."""
        self._doubt = doubt

    async def begin(self, piece: Slice) -> None:
        """Wait for the first bytes of what is asked for first: before, nobody knows whether there are any.

        Raises BlobError.
        """
        parts = self._blobs.read(self._key, piece.start, piece.length)
        self._begun = await anext(parts, b""), parts
        if piece.length and not self._begun[0]:
            await self.aclose()
            raise BlobCorrupt(f"the blob {self._key} ends before byte {piece.start}")

    async def chunks(self, piece: Slice) -> AsyncGenerator[bytes, None]:
        """What the store yields, cut to size."""
        begun, self._begun = self._begun, None
        first, parts = begun or (b"", self._blobs.read(self._key, piece.start, piece.length))
        given = 0
        async with aclosing(parts):
            for chunk in _cut(first):
                given += len(chunk)
                yield chunk
            async for part in parts:
                for chunk in _cut(part):
                    given += len(chunk)
                    yield chunk
        if given < piece.length and self._doubt is not None:  # this viewer is cut off; the next one is not
            await self._doubt()

    async def aclose(self) -> None:
        """Let go of what was begun and not read."""
        if self._begun is not None:
            await self._begun[1].aclose()
            self._begun = None


Source = FileSource | FillSource | StoredBlob


def _cut(part: bytes) -> Iterator[bytes]:
    return (part[start : start + CHUNK_BYTES] for start in range(0, len(part), CHUNK_BYTES))


@lru_cache(_REMEMBERED)
def representation_of(version: str, size_bytes: int | None, content_type: str, sha256: str | None) -> Representation:
    """The version id is a UUIDv7 and tells when its fill began: one Last-Modified, cold, at the edge and stored."""
    return Representation(
        etag=f'"{version}"',
        size=size_bytes,
        content_type=content_type,
        last_modified_at=int(version[:12], 16) // 1000,
        sha256=None if sha256 is None else bytes.fromhex(sha256),
    )
