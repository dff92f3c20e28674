"""The bytes of media: files that are held in memory, and synthetic ones of any size that are made as they are read."""

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

BLOCK_BYTES = 1 << 16  #: the filler's period; each block starts with its own number
_HEADER_BYTES = 16
_READ_BYTES = 1 << 20


class Content(Protocol):
    """Bytes that can be read in any part, any number of times, with the same outcome."""

    @property
    def size(self) -> int: ...

    @property
    def content_type(self) -> str: ...

    @property
    def etag(self) -> str:
        """A strong entity tag, quotes included."""
        ...

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from start up to, not including, stop."""
        ...

    def sha256(self) -> str:
        """The hexadecimal digest of all of it; computed without holding it all."""
        ...


@dataclass(frozen=True)
class Held:
    """Content that lies in memory."""

    data: bytes
    content_type: str

    @property
    def size(self) -> int:
        return len(self.data)

    @cached_property
    def etag(self) -> str:
        return f'"{self.sha256()[:32]}"'

    def read(self, start: int, stop: int) -> bytes:
        return self.data[start:stop]

    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Synthetic:
    """A small valid file, followed by deterministic filler up to exactly `size` bytes.

    Players ignore the filler: in an MP4 it lies in a trailing `free` box, in a JPEG behind the end of the image.
    Every 64 KiB of it differ, so a part served from the wrong place is noticed. Raises ValueError where `size` is too
    small to hold the file.
    """

    head: bytes
    content_type: str
    size: int
    seed: int

    def __post_init__(self) -> None:
        smallest = len(self.head) + (8 if self._is_boxed else 0)
        if self.size < smallest:
            raise ValueError(f"size_bytes must be at least {smallest} for {self.content_type}, not {self.size}")

    @property
    def _is_boxed(self) -> bool:
        return self.content_type.endswith("/mp4")

    @cached_property
    def _start(self) -> bytes:
        """What comes before the filler."""
        return self.head + (_free_box_header(self.size - len(self.head)) if self._is_boxed else b"")

    @cached_property
    def etag(self) -> str:
        identity = f"{self.content_type} {self.size} {self.seed}".encode()
        return f'"{hashlib.sha256(self.head + identity).hexdigest()[:32]}"'

    def read(self, start: int, stop: int) -> bytes:
        stop, before = min(stop, self.size), len(self._start)
        head = self._start[start:stop]
        return head + filler(self.seed, max(start - before, 0), max(stop - before, 0))

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for start in range(0, self.size, _READ_BYTES):
            digest.update(self.read(start, start + _READ_BYTES))
        return digest.hexdigest()


def filler(seed: int, start: int, stop: int) -> bytes:
    """The bytes from start up to stop of an endless stream that the seed decides."""
    if start >= stop:
        return b""
    pattern = _pattern(seed)
    first, last = start // BLOCK_BYTES, (stop - 1) // BLOCK_BYTES
    parts = [part for number in range(first, last + 1) for part in (number.to_bytes(_HEADER_BYTES, "big"), pattern)]
    skipped = start - first * BLOCK_BYTES
    return b"".join(parts)[skipped : skipped + stop - start]


def _free_box_header(size: int) -> bytes:
    """ISO 14496-12, 4.2: sizes from 2^32 stand in a field of 64 bits behind the type."""
    if size < 1 << 32:
        return size.to_bytes(4, "big") + b"free"
    return (1).to_bytes(4, "big") + b"free" + size.to_bytes(8, "big")


@lru_cache(maxsize=64)
def _pattern(seed: int) -> bytes:
    return hashlib.shake_256(str(seed).encode()).digest(BLOCK_BYTES - _HEADER_BYTES)
