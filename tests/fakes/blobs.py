"""A blob store in memory: fast, and held to the same contract as the real ones."""

import hashlib
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

from mediavault.blobs.store import Blob, BlobKey, require_key, require_slice
from mediavault.errors import BlobCorrupt, BlobNotFound, BlobUnavailable, LimitReached

SLICE_BYTES = 1 << 16


class MemoryBlobs:
    """Keeps the contract of `mediavault.blobs.store`, except that nothing survives the process."""

    def __init__(self) -> None:
        self._bodies: dict[BlobKey, bytes] = {}
        self.aside: list[bytes] = []  #: what was set aside

    async def put(self, key: BlobKey, body: AsyncIterator[bytes], *, limit_bytes: int | None = None) -> Blob:
        """Write a whole blob."""
        require_key(key)
        whole = bytearray()
        async for chunk in body:
            whole += chunk
            if limit_bytes is not None and len(whole) > limit_bytes:
                raise LimitReached(f"more than the {limit_bytes} bytes a blob may have here")
        self._bodies[key] = bytes(whole)
        return await self.measure(key)

    async def adopt(self, key: BlobKey, path: Path, *, size_bytes: int) -> None:
        """Take a copy of a local file."""
        require_key(key)
        try:
            if not stat.S_ISREG(os.lstat(path).st_mode):
                raise BlobCorrupt(f"{path.name} is not a regular file")
            whole = path.read_bytes()
        except OSError as error:
            raise BlobUnavailable(f"{key}: {error.strerror}") from error
        if len(whole) != size_bytes:
            raise BlobCorrupt(f"{len(whole)} bytes arrived where {size_bytes} were announced")
        self._bodies[key] = whole

    def open_file(self, key: BlobKey) -> None:
        """There are no local files here."""
        require_key(key)

    async def read(self, key: BlobKey, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """Read a blob, or a part of it."""
        require_slice(start, length)
        whole = self._body(key)
        part = whole[start:] if length is None else whole[start : start + length]
        for position in range(0, len(part), SLICE_BYTES):
            yield part[position : position + SLICE_BYTES]

    async def measure(self, key: BlobKey) -> Blob:
        """Size and digest."""
        whole = self._body(key)
        return Blob(key, len(whole), hashlib.sha256(whole).hexdigest())

    async def delete(self, key: BlobKey) -> None:
        """Forget a blob."""
        self._bodies.pop(require_key(key), None)

    async def set_aside(self, key: BlobKey) -> bool:
        """Out of reach."""
        body = self._bodies.pop(require_key(key), None)
        if body is not None:
            self.aside.append(body)
        return body is not None

    async def keys(self) -> AsyncGenerator[BlobKey, None]:
        """List every key."""
        for key in list(self._bodies):
            yield key

    async def check_writable(self) -> None:
        """Memory is always writable."""

    def free_bytes(self) -> int | None:
        """Nobody can say."""
        return None

    async def sweep_staging(self, older_than_seconds: float) -> int:
        """Nothing is ever staged."""
        return 0

    async def leftovers(self, older_than_seconds: float) -> list[str]:
        """None either."""
        return []

    def _body(self, key: BlobKey) -> bytes:
        try:
            return self._bodies[require_key(key)]
        except KeyError:
            raise BlobNotFound(f"no blob {key}") from None
