"""Bytes to store, and how to get them back."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator

from mediavault.blobs.store import Blob, BlobKey, BlobStore

BODY = bytes(range(256)) * 10_000  # longer than one slice of any store
CHUNK_BYTES = 100_000


async def chunks(body: bytes = BODY) -> AsyncGenerator[bytes, None]:
    """A body as an origin sends it."""
    for start in range(0, len(body), CHUNK_BYTES):
        yield body[start : start + CHUNK_BYTES]


async def held(first: bytes, proceed: asyncio.Event, asked: asyncio.Event) -> AsyncGenerator[bytes, None]:
    """A body that stops after `first`, says so, and goes on when told."""
    yield first
    asked.set()
    await proceed.wait()
    yield b"the rest"


async def whole(store: BlobStore, key: BlobKey, start: int = 0, length: int | None = None) -> bytes:
    """A blob, or a part of it, in one piece."""
    return b"".join([chunk async for chunk in store.read(key, start, length)])


async def listed(store: BlobStore) -> set[BlobKey]:
    """Every key, each of them listed once."""
    keys = [key async for key in store.keys()]  # noqa: SIM118  # a store is no dict
    assert len(keys) == len(set(keys))
    return set(keys)


def measured(key: BlobKey, body: bytes) -> Blob:
    """What a store must say of `body`."""
    return Blob(key, len(body), hashlib.sha256(body).hexdigest())
