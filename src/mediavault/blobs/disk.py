"""Blobs on a local disk.

    <root>/.staging/<key>.<random>                     files being written
    <root>/<organisation, or _>/<last two>/<id>        blobs, 0600 in folders of 0700
    <root>/.quarantine/<key>.<random>                  what was set aside, for people

The last two characters of an id choose its folder: ids of one time share their first ones.
The order is the promise: bytes and length checked < fsync of the file < rename < fsync of the folders.
"""

import hashlib
import os
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path

from mediavault import folders
from mediavault.blobs import steps
from mediavault.blobs.staged import SLICE_BYTES, StagedFile, hash_slice
from mediavault.blobs.steps import in_thread
from mediavault.blobs.store import Blob, BlobFile, BlobKey, is_key, require_key, require_slice
from mediavault.domain.times import SECOND, Now
from mediavault.errors import BlobCorrupt, BlobNotFound, BlobUnavailable, LimitReached

_NO_ORGANISATION = "_"  # no organisation's id can be this
_PROBE = b"mediavault was here"


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


class DiskBlobs:
    """A BlobStore in a folder of this machine. Keeps the contract of `blobs.store`.

    Makes the folder if need be; raises BlobUnavailable where it cannot. Only the sweep asks `now`.
    """

    def __init__(self, root: Path, now: Now = _milliseconds) -> None:
        self._root = root
        self._root_text = str(self._root)
        self._staging = root / ".staging"
        self._quarantine = root / ".quarantine"
        self._now = now
        self._durable_folders: set[Path] = set()  # whose own names this process has synced
        try:
            _make_durable_folder(root)
            steps.make_folder(self._staging)
        except OSError as error:
            raise steps.blob_error("the folder of the blobs", error) from error

    async def put(self, key: BlobKey, body: AsyncIterator[bytes], *, limit_bytes: int | None = None) -> Blob:
        """Write a whole blob; return its measured size and digest."""
        place, staged = self._place(key), self._staged(key)
        try:
            await in_thread(key, staged.create)
            async with aclosing(_slices(body, limit_bytes)) as slices:
                async for chunks in slices:
                    await in_thread(key, staged.write, chunks)
            await in_thread(key, self._publish, staged, place, staged.size_bytes)
        finally:
            await in_thread(key, staged.discard)
        return Blob(key, staged.size_bytes, staged.sha256())

    async def adopt(self, key: BlobKey, path: Path, *, size_bytes: int) -> None:
        """Make the bytes of a complete local file durable under `key`."""
        place, staged = self._place(key), self._staged(key)
        try:
            if not await in_thread(key, staged.link, path):
                await self._copy(key, path, staged)
            await in_thread(key, self._publish, staged, place, size_bytes)
        finally:
            await in_thread(key, staged.discard)

    async def clone(self, key: BlobKey, file: BlobFile) -> Blob | None:
        """A copy of a local file that takes no room of its own; None where the file system cannot share blocks.

        Never a second name of the same file: what is written to one is not in the other.
        """
        place, staged = self._place(key), self._staged(key)
        try:
            if not await in_thread(key, staged.clone, file.fd):
                return None
            while await in_thread(key, staged.hash_slice):
                pass
            await in_thread(key, self._publish, staged, place, staged.size_bytes)
        finally:
            await in_thread(key, staged.discard)
        return Blob(key, staged.size_bytes, staged.sha256())

    def open_file(self, key: BlobKey) -> BlobFile:
        """Open a blob's local file."""
        try:
            return BlobFile(*steps.open_regular(self._path(key)))
        except FileNotFoundError as error:
            raise BlobNotFound(f"no blob {key}") from error
        except OSError as error:
            raise steps.blob_error(key, error) from error

    async def read(self, key: BlobKey, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """Read a blob, or a part of it."""
        require_slice(start, length)
        file = self.open_file(key)
        try:
            position = start
            stop = file.size_bytes if length is None else min(start + length, file.size_bytes)
            while position < stop:
                chunk = await in_thread(key, os.pread, file.fd, min(SLICE_BYTES, stop - position), position)
                if not chunk:
                    raise BlobCorrupt(f"{key} ends at byte {position} of {file.size_bytes}")
                position += len(chunk)
                yield chunk
        finally:
            file.close()

    async def measure(self, key: BlobKey) -> Blob:
        """Read the whole blob for its size and digest."""
        file = self.open_file(key)
        digest, size_bytes = hashlib.sha256(), 0
        try:
            while taken := await in_thread(key, hash_slice, file.fd, size_bytes, digest.update):
                size_bytes += taken
        finally:
            file.close()
        return Blob(key, size_bytes, digest.hexdigest())

    async def delete(self, key: BlobKey) -> None:
        """Forget a blob."""
        await in_thread(key, _remove, self._place(key))

    async def set_aside(self, key: BlobKey) -> bool:
        """Move what lies under a key into the quarantine."""
        return await in_thread(key, self._set_aside, self._place(key))

    async def keys(self) -> AsyncGenerator[BlobKey, None]:
        """List every key, in no order. Names that are no keys are not ours and not listed."""
        for organisation in await in_thread("the list of blobs", _names, self._root):
            prefix = "" if organisation == _NO_ORGANISATION else f"{organisation}/"
            if prefix and not is_key(organisation):
                continue
            for fan in await in_thread("the list of blobs", _names, self._root / organisation):
                for name in await in_thread("the list of blobs", _names, self._root / organisation / fan):
                    if is_key(name) and name[-2:] == fan:
                        yield BlobKey(prefix + name)

    async def check_writable(self) -> None:
        """Write, read back and delete a probe."""
        await in_thread("the probe", self._probe)

    def free_bytes(self) -> int:
        """Bytes an unprivileged process may still write on this file system."""
        try:
            return folders.free_bytes(self._root)
        except OSError as error:
            raise steps.blob_error("the free space", error) from error

    async def sweep_staging(self, older_than_seconds: float) -> int:
        """Remove staging files that have not changed for so long."""
        return await in_thread("the sweep", self._sweep, self._now() / SECOND - older_than_seconds)

    async def leftovers(self, older_than_seconds: float) -> list[str]:
        """The names of staging files that have not changed for so long."""
        old = await in_thread("the staging folder", self._leftovers, self._now() / SECOND - older_than_seconds)
        return [path.name for path in old]

    def _place(self, key: BlobKey) -> Path:
        return Path(self._path(key))

    def _path(self, key: BlobKey) -> str:
        """Text: on the way of every view, a Path would cost more than opening the file."""
        organisation, _, blob_id = require_key(key).rpartition("/")
        return f"{self._root_text}/{organisation or _NO_ORGANISATION}/{blob_id[-2:]}/{blob_id}"

    def _staged(self, name: str) -> StagedFile:
        """A staging name nobody else has, not even another writer of the same key."""
        return StagedFile(self._staging / f"{name.replace('/', '.')}.{secrets.token_hex(8)}")

    async def _copy(self, key: BlobKey, path: Path, staged: StagedFile) -> None:
        source = BlobFile(*await in_thread(key, steps.open_regular, path))
        try:
            await in_thread(key, staged.create)
            while await in_thread(key, staged.copy_slice, source.fd):
                pass
        finally:
            source.close()

    def _publish(self, staged: StagedFile, place: Path, size_bytes: int) -> None:
        staged.require_size(size_bytes)
        steps.sync_file(staged.fd)
        folders = self._make_folders(place)
        steps.rename_file(staged.path, place)
        try:
            for folder in folders:
                steps.sync_folder(folder)
        except OSError:
            with suppress(OSError):
                steps.unlink_file(place)
            raise
        self._durable_folders.add(place.parent)

    def _make_folders(self, place: Path) -> list[Path]:
        """Make the blob's folders; say which ones to sync after the rename.

        A folder that is there may still be one whose maker crashed before syncing its name, so the whole chain is
        synced the first time this process uses it.
        """
        fan, organisation = place.parent, place.parent.parent
        made = [steps.make_folder(organisation), steps.make_folder(fan)]
        known = fan in self._durable_folders and not any(made)
        return [fan] if known else [fan, organisation, self._root]

    def _probe(self) -> None:
        staged = self._staged("probe")
        try:
            staged.create()
            staged.write([_PROBE])
            steps.sync_file(staged.fd)
            if os.pread(staged.fd, len(_PROBE) + 1, 0) != _PROBE:
                raise BlobUnavailable("the disk does not give back what was written to it")
        finally:
            staged.discard()

    def _set_aside(self, place: Path) -> bool:
        if steps.make_folder(self._quarantine):
            steps.sync_folder(self._root)
        name = f"{place.parent.parent.name}.{place.name}.{secrets.token_hex(4)}"
        try:
            steps.rename_file(place, self._quarantine / name)
        except (FileNotFoundError, NotADirectoryError):
            return False
        steps.sync_folder(self._quarantine)
        steps.sync_folder(place.parent)
        return True

    def _leftovers(self, unchanged_since: float) -> list[Path]:
        old = []
        for name in _names(self._staging):
            path = self._staging / name
            # The change time: a linked file keeps the modification time of the day its bytes were written.
            with suppress(FileNotFoundError):
                if path.lstat().st_ctime < unchanged_since:
                    old.append(path)
        return old

    def _sweep(self, unchanged_since: float) -> int:
        swept = 0
        for path in self._leftovers(unchanged_since):
            with suppress(IsADirectoryError):
                steps.unlink_file(path)
                swept += 1
        return swept


async def _slices(body: AsyncIterator[bytes], limit_bytes: int | None) -> AsyncGenerator[list[bytes], None]:
    """Gather small chunks, so that a thread is visited once a slice. Raises LimitReached before passing on too much."""
    chunks: list[bytes] = []
    waiting = total = 0
    async for chunk in body:
        total += len(chunk)
        if limit_bytes is not None and total > limit_bytes:
            raise LimitReached(f"more than the {limit_bytes} bytes a blob may have here")
        chunks.append(chunk)
        waiting += len(chunk)
        if waiting >= SLICE_BYTES:
            yield chunks
            chunks, waiting = [], 0
    yield chunks


def _remove(place: Path) -> None:
    steps.unlink_file(place)
    # Also when the name was missing: whoever removed it may have crashed before syncing.
    with suppress(FileNotFoundError):
        steps.sync_folder(place.parent)


def _names(folder: Path) -> list[str]:
    """The names in a folder; none where there is no folder."""
    try:
        return os.listdir(folder)  # noqa: PTH208  # the names alone are wanted, and quickly
    except (FileNotFoundError, NotADirectoryError):
        return []


def _make_durable_folder(folder: Path) -> None:
    """Make a folder and its missing parents, and sync the names of those it made."""
    if folder.is_dir():
        return
    _make_durable_folder(folder.parent)
    if steps.make_folder(folder):
        steps.sync_folder(folder.parent)
