"""Where blobs lie: one place, or two while they are being moved from one to the other."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mediavault.blobs.disk import DiskBlobs
from mediavault.blobs.s3_config import S3Credentials, S3Place
from mediavault.blobs.store import Blob, BlobFile, BlobKey, BlobStore
from mediavault.errors import BlobNotFound, BlobUnavailable, ConfigError
from mediavault.telemetry import Events, logger

if TYPE_CHECKING:
    from mediavault.blobs.s3 import S3Blobs

Place = Path | S3Place


@dataclass(frozen=True)
class StorageConfig:
    """Where blobs lie when that is not a folder alone."""

    bucket: S3Place | None = None  #: where they belong, instead of the folder
    previous: Place | None = None  #: where they lay before: still read, no longer written to
    credentials: S3Credentials | None = None  #: for every bucket
    redirect: bool = False  #: viewers fetch from the bucket themselves


def primary_of(folder: Path, storage: StorageConfig) -> Place:
    """Where blobs belong."""
    return storage.bucket or folder


def open_storage(folder: Path, storage: StorageConfig) -> BlobStore:
    """The store of all blobs. Raises ConfigError, BlobUnavailable."""
    primary = open_place(primary_of(folder, storage), storage.credentials)
    if storage.previous is None:
        return primary
    return TwoPlaces(primary, open_place(storage.previous, storage.credentials))


async def check_storage(blobs: BlobStore) -> None:
    """Raise ConfigError where a bucket is missing, forbidden or elsewhere."""
    for store in (blobs.primary, blobs.previous) if isinstance(blobs, TwoPlaces) else (blobs,):
        await _check(store)


def places_of(blobs: BlobStore, folder: Path, storage: StorageConfig) -> dict[str, BlobStore]:
    """Each place by its URL, of what `open_storage` gave."""
    primary = url_of(primary_of(folder, storage))
    if not isinstance(blobs, TwoPlaces) or storage.previous is None:
        return {primary: blobs}
    return {primary: blobs.primary, url_of(storage.previous): blobs.previous}


async def _check(store: BlobStore) -> None:
    """A service that does not answer now may later: the vault starts, and says that it is not ready."""
    bucket = getattr(store, "bucket", None)
    if bucket is None:
        return
    try:
        await bucket.check()
    except BlobUnavailable as error:
        logger().warning(Events.BUCKET_UNREACHABLE, reason=str(error))


def url_of(place: Place) -> str:
    """One spelling for one place, without secrets."""
    return place.as_uri() if isinstance(place, Path) else place.url


def open_place(place: Place, credentials: S3Credentials | None) -> BlobStore:
    """The store of a place. Raises ConfigError where it cannot be opened like this, BlobUnavailable."""
    return DiskBlobs(place) if isinstance(place, Path) else _open_s3(place, credentials)


def _open_s3(place: S3Place, credentials: S3Credentials | None) -> "S3Blobs":
    if credentials is None:
        raise ConfigError(
            f"{place.url} needs MEDIAVAULT_S3_ACCESS_KEY_ID and MEDIAVAULT_S3_SECRET_ACCESS_KEY (or AWS_…), or their "
            "files: MEDIAVAULT_S3_SECRET_ACCESS_KEY_FILE"
        )
    try:
        from mediavault.blobs.s3 import S3Blobs
    except ImportError as error:
        raise ConfigError("blobs in S3 need the extra: pip install 'mediavault[s3]'") from error
    return S3Blobs(place, credentials)


class TwoPlaces:
    """A BlobStore that writes to one place and still reads what lies in the one before.

    A key is never in both: what is moved gets a new one (`vault.moving`).
    """

    def __init__(self, primary: BlobStore, previous: BlobStore) -> None:
        self.primary = primary
        self.previous = previous

    async def put(self, key: BlobKey, body: AsyncIterator[bytes], *, limit_bytes: int | None = None) -> Blob:
        """Write it where blobs belong now."""
        return await self.primary.put(key, body, limit_bytes=limit_bytes)

    async def adopt(self, key: BlobKey, path: Path, *, size_bytes: int) -> None:
        """Write it where blobs belong now."""
        await self.primary.adopt(key, path, size_bytes=size_bytes)

    def open_file(self, key: BlobKey) -> BlobFile | None:
        """Its local file, whichever place has one; None where only `read` can tell."""
        try:
            file = self.primary.open_file(key)
        except BlobNotFound:
            return self.previous.open_file(key)
        if file is not None:
            return file
        try:
            return self.previous.open_file(key)
        except BlobNotFound:
            return None

    async def read(self, key: BlobKey, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """Read it where it is. A place that fails is not taken for one that has it not."""
        try:
            async with aclosing(self.primary.read(key, start, length)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        except BlobNotFound:  # raised by the first step, or not at all
            pass
        async with aclosing(self.previous.read(key, start, length)) as pieces:
            async for piece in pieces:
                yield piece

    async def measure(self, key: BlobKey) -> Blob:
        """Read it whole where it is."""
        try:
            return await self.primary.measure(key)
        except BlobNotFound:
            return await self.previous.measure(key)

    async def delete(self, key: BlobKey) -> None:
        """Forget it in both: nobody knows here which of them has it."""
        await self.primary.delete(key)
        await self.previous.delete(key)

    async def set_aside(self, key: BlobKey) -> bool:
        """Where it is."""
        return await self.primary.set_aside(key) or await self.previous.set_aside(key)

    async def keys(self) -> AsyncGenerator[BlobKey, None]:
        """The keys of both."""
        for store in (self.primary, self.previous):
            async with aclosing(store.keys()) as keys:
                async for key in keys:
                    yield key

    async def check_writable(self) -> None:
        """Only what is written to has to take bytes."""
        await self.primary.check_writable()

    def free_bytes(self) -> int | None:
        """Of the place that is written to."""
        return self.primary.free_bytes()

    async def sweep_staging(self, older_than_seconds: float) -> int:
        """In both."""
        swept = await self.primary.sweep_staging(older_than_seconds)
        return swept + await self.previous.sweep_staging(older_than_seconds)

    async def leftovers(self, older_than_seconds: float) -> Sequence[str]:
        """Of both."""
        leftovers = [*await self.primary.leftovers(older_than_seconds)]
        return [*leftovers, *await self.previous.leftovers(older_than_seconds)]


def presigned_url(blobs: BlobStore, key: BlobKey, seconds: int, content_type: str, disposition: str) -> str | None:
    """A URL that a viewer can fetch the blob from, where all blobs lie in a bucket; else None.

    While blobs are being moved there is none: nobody knows without asking which of the two places has it.
    """
    sign = getattr(blobs, "presigned_url", None)
    if sign is None:
        return None
    signed: str = sign(key, seconds, content_type=content_type, disposition=disposition)
    return signed
