"""Blobs in a bucket of S3, or of any service that speaks its protocol.

    <prefix>/<organisation, or _>/<id>     blobs: written once, under a name nobody else is given
    <prefix>/.quarantine/<as above>.<random>   what was set aside, for people
    <prefix>/.probe/<random>               what `check_writable` writes and removes

An object is there whole or not at all, so what is durable needs no step of ours; that it is the right one is said by
the catalog's row alone, never by a conditional write. Every PUT and every part carries its SHA-256, which the service
checks. Up to 8 MiB are one PUT, more are parts of 8 MiB, four at a time.
"""

import asyncio
import hashlib
import os
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import BaseError

from mediavault.blobs import steps
from mediavault.blobs.s3_bucket import Bucket, Unfinished
from mediavault.blobs.s3_client import S3Timing, new_client
from mediavault.blobs.s3_config import S3Credentials, S3Place
from mediavault.blobs.s3_errors import blob_error, status_of
from mediavault.blobs.s3_upload import PART_BYTES, PARTS_AT_ONCE, MeasuredBody
from mediavault.blobs.staged import SLICE_BYTES
from mediavault.blobs.steps import in_thread
from mediavault.blobs.store import Blob, BlobKey, is_key, require_key, require_slice
from mediavault.domain.times import SECOND, Now
from mediavault.errors import BlobCorrupt, BlobNotFound, BlobUnavailable, VaultError

if TYPE_CHECKING:
    from obstore import BytesStream, GetOptions

T = TypeVar("T")

_NO_ORGANISATION = "_"  # no organisation's id can be this
_PROBES = ".probe"
_QUARANTINE = ".quarantine"
#: What the service copies by itself, in one request.
_LARGEST_COPY_BYTES = 5 << 30
_PROBE = b"mediavault was here"
#: What obstore raises: its own errors, and the nearest of Python's.
_FAILURES = (BaseError, OSError, ValueError)


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


class S3Blobs:
    """A BlobStore in a bucket. Keeps the contract of `blobs.store`; a key may be put again, but not safely twice.

    A `put` that fails may have replaced an older blob of the same key, or removed it: keys are given once.
    """

    def __init__(
        self,
        place: S3Place,
        credentials: S3Credentials,
        now: Now = _milliseconds,
        timing: S3Timing | None = None,
    ) -> None:
        self.place = place
        self.bucket = Bucket(place, credentials, now)
        self._now = now
        self._store = new_client(place, credentials, timing or S3Timing())

    async def put(self, key: BlobKey, body: AsyncIterator[bytes], *, limit_bytes: int | None = None) -> Blob:
        """Write a whole blob; return its measured size and digest."""
        name = self._name(key)
        passing = MeasuredBody(key, body, limit_bytes)
        small = await passing.small()
        try:
            if small is not None:
                await self._call(key, obstore.put_async(self._store, name, small, use_multipart=False))
            else:
                await self._put_parts(key, name, passing)
        except BaseException as error:
            await self._settle_failed_put(key, passing, error)
        return Blob(key, passing.size_bytes, passing.sha256())

    async def adopt(self, key: BlobKey, path: Path, *, size_bytes: int) -> None:
        """Upload a complete local file."""
        require_key(key)
        fd, found = await in_thread(key, steps.open_regular, path)
        try:
            if found != size_bytes:
                raise BlobCorrupt(f"{found} bytes arrived where {size_bytes} were announced")
            await self.put(key, _file_bytes(key, fd, size_bytes))
        finally:
            os.close(fd)

    def open_file(self, key: BlobKey) -> None:
        """There are no local files here."""
        require_key(key)

    async def read(self, key: BlobKey, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """Read a blob, or a part of it, in pieces of at most 1 MiB."""
        require_slice(start, length)
        name = self._name(key)
        try:
            got = await obstore.get_async(self._store, name, options=_range(start, length))
        except _FAILURES as error:
            if status_of(str(error)) == 416:
                return
            raise blob_error(key, error) from error
        if length == 0:
            return
        expected = got.range[1] - got.range[0]
        stream = got.stream(min_chunk_size=SLICE_BYTES // 4)
        passed = 0
        while (piece := await self._next(key, stream)) is not None:
            passed += len(piece)
            for position in range(0, len(piece), SLICE_BYTES):
                yield bytes(piece[position : position + SLICE_BYTES])
        if passed != expected:
            raise BlobUnavailable(f"{key}: the S3 service sent {passed} of {expected} bytes")

    async def measure(self, key: BlobKey) -> Blob:
        """Read the whole blob for its size and digest."""
        digest, size_bytes = hashlib.sha256(), 0
        async for piece in self.read(key):
            await in_thread(key, digest.update, piece)
            size_bytes += len(piece)
        return Blob(key, size_bytes, digest.hexdigest())

    async def delete(self, key: BlobKey) -> None:
        """Forget a blob."""
        with suppress(BlobNotFound):
            await self._call(key, obstore.delete_async(self._store, self._name(key)))

    async def set_aside(self, key: BlobKey) -> bool:
        """Copy what lies under a key into the quarantine, then remove it."""
        name = self._name(key)
        aside = f"{_QUARANTINE}/{name.replace('/', '.')}.{secrets.token_hex(4)}"
        try:
            found = await self._call(key, obstore.get_async(self._store, name, options={"head": True}))
            if found.meta["size"] <= _LARGEST_COPY_BYTES:
                await self._call(key, obstore.copy_async(self._store, name, aside))
            else:
                moved = obstore.put_async(
                    self._store, aside, self.read(key), use_multipart=True, chunk_size=PART_BYTES, max_concurrency=1
                )
                await self._call(key, moved)
        except BlobNotFound:
            await self.bucket.check()  # a HEAD cannot tell a missing bucket from a missing blob
            return False
        await self.delete(key)
        return True

    async def keys(self) -> AsyncGenerator[BlobKey, None]:
        """List every key. Names that are no keys are not ours and not listed."""
        pages = self._store.list(chunk_size=1000)
        while True:
            try:
                page = await anext(pages, None)
            except _FAILURES as error:
                raise blob_error("the list of blobs", error) from error
            if page is None:
                return
            for each in page:
                key = _key(each["path"])
                if key is not None:
                    yield key

    async def check_writable(self) -> None:
        """Write, read back and delete a probe."""
        name = f"{_PROBES}/{secrets.token_hex(8)}"
        try:
            await self._call("the probe", obstore.put_async(self._store, name, _PROBE, use_multipart=False))
            got = await self._call("the probe", obstore.get_async(self._store, name))
            content = await self._call("the probe", got.bytes_async())
            if bytes(content) != _PROBE:
                raise BlobUnavailable("the bucket does not give back what was written to it")
        finally:
            await self._call("the probe", obstore.delete_async(self._store, name))

    def free_bytes(self) -> int | None:
        """Nobody can say."""
        return None

    async def sweep_staging(self, older_than_seconds: float) -> int:
        """Abort multipart uploads that were begun before that and never completed."""
        old = await self._old_uploads(older_than_seconds)
        for each in old:
            await self.bucket.abort(each)
        return len(old)

    async def leftovers(self, older_than_seconds: float) -> Sequence[str]:
        """The names of what `sweep_staging` would abort."""
        return [f"{each.name} (upload {each.upload_id})" for each in await self._old_uploads(older_than_seconds)]

    async def _old_uploads(self, older_than_seconds: float) -> list[Unfinished]:
        before = self._now() / SECOND - older_than_seconds
        return [each for each in await self.bucket.unfinished() if each.started_at < before]

    def presigned_url(self, key: BlobKey, seconds: int, *, content_type: str, disposition: str) -> str:
        """A URL that gives the blob to whoever has it, for so long, as that type."""
        said = {"response-content-type": content_type, "response-content-disposition": disposition}
        return self.bucket.presigned(self._full_name(self._name(key)), said, seconds)

    def _name(self, key: BlobKey) -> str:
        organisation, _, blob_id = require_key(key).rpartition("/")
        return f"{organisation or _NO_ORGANISATION}/{blob_id}"

    def _full_name(self, name: str) -> str:
        return f"{self.place.prefix}/{name}" if self.place.prefix else name

    async def _put_parts(self, key: BlobKey, name: str, passing: MeasuredBody) -> None:
        uploading = obstore.put_async(
            self._store, name, passing, use_multipart=True, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
        )
        await self._call(key, uploading)

    async def _settle_failed_put(self, key: BlobKey, passing: MeasuredBody, error: BaseException) -> None:
        """Return where the object is there all the same: only the answer was lost. Else leave nothing, and raise."""
        if passing.ended and isinstance(error, BlobUnavailable | BlobNotFound) and await self._is_there(key, passing):
            return
        await self._discard(key)
        if passing.failure is not None:
            raise passing.failure
        if isinstance(error, BlobNotFound):  # an upload that somebody aborted, not a blob
            raise BlobUnavailable(f"{key}: the upload was lost") from error
        raise error

    async def _is_there(self, key: BlobKey, passing: MeasuredBody) -> bool:
        try:
            return await self.measure(key) == Blob(key, passing.size_bytes, passing.sha256())
        except VaultError:
            return False

    async def _discard(self, key: BlobKey) -> None:
        """Leave neither parts nor an object whose answer was lost. What cannot be removed now is the sweeps'."""
        name = self._full_name(self._name(key))
        removing = asyncio.ensure_future(self._remove_all(key, name))
        with suppress(VaultError):
            await _to_the_end(removing)

    async def _remove_all(self, key: BlobKey, name: str) -> None:
        await self.delete(key)
        for each in await self.bucket.unfinished(name):
            await self.bucket.abort(each)

    async def _next(self, key: BlobKey, stream: "BytesStream") -> memoryview | None:
        try:
            piece = await anext(stream, None)
        except _FAILURES as error:
            raise blob_error(key, error) from error
        return None if piece is None else memoryview(piece)

    async def _call(self, subject: str, asked: Awaitable[T]) -> T:
        try:
            return await asked
        except _FAILURES as error:
            raise blob_error(subject, error) from error


async def _to_the_end(removing: "asyncio.Future[None]") -> None:
    """Wait for it even when cancelled, and be cancelled then."""
    cancelled: asyncio.CancelledError | None = None
    while not removing.done():
        try:
            await asyncio.wait([removing])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    removing.result()


def _range(start: int, length: int | None) -> "GetOptions":
    """What to ask for. Of nothing one byte is asked all the same: it tells whether there is a blob."""
    if length is None:
        return {"range": {"offset": start}} if start else {}
    return {"range": (start, start + max(1, length))}


def _key(path: str) -> BlobKey | None:
    """The key of an object by its name under the prefix; None for what is none of ours."""
    organisation, _, blob_id = path.partition("/")
    key = blob_id if organisation == _NO_ORGANISATION else path
    return BlobKey(key) if "/" in path and is_key(key) else None


async def _file_bytes(key: BlobKey, fd: int, size_bytes: int) -> AsyncGenerator[bytes, None]:
    """All of a file. Raises BlobCorrupt where it is shorter by now."""
    position = 0
    while position < size_bytes:
        piece = await in_thread(key, os.pread, fd, min(SLICE_BYTES, size_bytes - position), position)
        if not piece:
            raise BlobCorrupt(f"the file ended at byte {position} of {size_bytes}")
        position += len(piece)
        yield piece
