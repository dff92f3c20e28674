"""Backing up: a catalog as of one moment and the blobs it refers to, beside whoever serves.

1. A hold is taken: from then on no sweep deletes a blob (`catalog/holds.py`), so that none of the snapshot's goes.
2. The catalog is copied as of one moment.
3. The blobs of that copy are copied, those that an earlier backup brought are not; each is read back by its digest.
4. The manifest is written, and the snapshot takes its name.
"""

import asyncio
import re
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from mediavault import __version__
from mediavault.blobs.disk import DiskBlobs
from mediavault.blobs.store import Blob, BlobKey, BlobStore, blob_key
from mediavault.catalog import damage, holds, schema
from mediavault.catalog.damage import LiveBlob
from mediavault.catalog.database import Catalog
from mediavault.catalog.identifiers import new_id
from mediavault.domain.times import MINUTE, Now
from mediavault.errors import BlobCorrupt, BlobNotFound, Conflict, InvalidRequest, LostRace
from mediavault.vault.integrity.damaging import difference, digest_of
from mediavault.vault.portable import backup_folder
from mediavault.vault.portable.backup_folder import BlobFacts, BlobLine, FileFacts, Manifest, make_durable, new_file
from mediavault.vault.rekeying import needed_keys

#: How long a hold lasts that is not renewed, and how often it is.
HOLD_MS = 10 * MINUTE
RENEW_SECONDS = 60.0
_PAGE = 500
_AT_ONCE = 4
_HOLD = re.compile(r"backup_hold:[0-9]{15}:[0-9a-f]{32}", re.ASCII)


class Hold(Struct, frozen=True):
    """A hold on every blob."""

    name: str  #: another one after every renewal


@dataclass(frozen=True)
class Holding:
    """Takes, renews and ends holds."""

    catalog: Catalog
    now: Now

    async def hold(self, name: str | None = None) -> Hold:
        """Take a hold, or renew one. Raises Conflict for one that has ended: blobs may be gone since."""
        now = self.now()
        if name is None:
            return Hold(await self.catalog.run(holds.take, new_id(now), now + HOLD_MS, now))
        try:
            return Hold(await self.catalog.run(holds.renew, _checked(name), now + HOLD_MS, now))
        except LostRace:
            raise Conflict("the backup lost its hold on the blobs, for it was stopped too long: run it again") from None

    async def release(self, name: str) -> Hold:
        """End a hold."""
        await self.catalog.run(holds.release, _checked(name))
        return Hold(name)


def _checked(name: str) -> str:
    if not _HOLD.fullmatch(name):
        raise InvalidRequest("that names no hold")
    return name


@dataclass
class Copied:
    """How far a backup is."""

    count: int = 0  #: blobs of the snapshot
    size_bytes: int = 0
    copied: int = 0
    copied_bytes: int = 0
    present: int = 0  #: brought by an earlier backup
    present_bytes: int = 0
    missing: dict[str, str] = field(default_factory=dict)  #: key to why its bytes could not be copied


class BackingUp:
    """Copies the blobs of a snapshot. With `deep` those that are there are read, else only their sizes are asked."""

    def __init__(self, snapshot: Catalog, source: BlobStore, target: BlobStore | None, *, deep: bool) -> None:
        self._snapshot = snapshot
        self._source = source
        self._target = target
        self._deep = deep
        self.copied = Copied()

    async def total(self) -> tuple[int, int]:
        """How many blobs the snapshot has, and their bytes."""
        return await damage.live_total(self._snapshot)

    async def run(self, lines: BinaryIO) -> None:
        """Copy, and write down, every blob. Raises BlobUnavailable, DiskFull."""
        after = ""
        while page := await damage.live_blobs(self._snapshot, after, _PAGE):
            after = page[-1].id
            for start in range(0, len(page), _AT_ONCE):
                group = page[start : start + _AT_ONCE]
                if self._target is not None:
                    await all_ended([self._carry(self._target, blob) for blob in group])
                for blob in group:
                    lines.write(msgspec.json.encode(_line(blob)) + b"\n")
                    self.copied.count += 1
                    self.copied.size_bytes += blob.size_bytes

    async def _carry(self, target: BlobStore, blob: LiveBlob) -> None:
        key = blob_key(blob.org_id, blob.id)
        if await is_there(target, blob, deep=self._deep):
            self.copied.present += 1
            self.copied.present_bytes += blob.size_bytes
            return
        try:
            written = await copied(self._source, target, key)
        except (BlobNotFound, BlobCorrupt) as error:
            self.copied.missing[key] = str(error)
            return
        wrong = difference(blob, written.size_bytes, written.sha256)
        if wrong is not None:
            await target.delete(key)
            self.copied.missing[key] = f"in the vault it has {wrong}: `mediavault verify --deep` says more"
            return
        self.copied.copied += 1
        self.copied.copied_bytes += blob.size_bytes


async def copied(source: BlobStore, target: BlobStore, key: BlobKey) -> Blob:
    """Copy a blob; the size and digest of what was copied. Raises BlobNotFound, BlobCorrupt, BlobError.

    Between two folders of one file system that can do it, the copy shares its blocks with the blob until one of them
    is written to. It is never a hard link: what overwrites or deletes the one is not in the other.
    """
    file = source.open_file(key) if isinstance(target, DiskBlobs) else None
    if file is not None and isinstance(target, DiskBlobs):
        try:
            shared = await target.clone(key, file)
        finally:
            file.close()
        if shared is not None:
            return shared
    async with aclosing(source.read(key)) as chunks:
        return await target.put(key, chunks)


async def is_there(store: BlobStore, blob: LiveBlob, *, deep: bool) -> bool:
    """Whether a store has a blob, in its size or (deep) with its digest."""
    key = blob_key(blob.org_id, blob.id)
    try:
        if deep:
            measured = await store.measure(key)
            return (measured.size_bytes, measured.sha256) == (blob.size_bytes, blob.sha256)
        file = store.open_file(key)
        if file is None:
            return await _reaches(store, blob)
        file.close()
    except (BlobNotFound, BlobCorrupt):
        return False
    return file.size_bytes == blob.size_bytes


async def _reaches(store: BlobStore, blob: LiveBlob) -> bool:
    """Its last byte, and none behind it."""
    first, taken = max(0, blob.size_bytes - 1), 0
    async with aclosing(store.read(blob_key(blob.org_id, blob.id), first, 2)) as chunks:
        async for chunk in chunks:
            taken += len(chunk)
    return first + taken == blob.size_bytes


async def write_manifest(
    folder: Path, snapshot: Catalog, engine: str, copied: Copied, now: int, *, blobs: bool
) -> None:
    """Say what is in a snapshot's folder; the blobs' list and the catalog are durable by now."""
    manifest = Manifest(
        format="mediavault-backup",
        version=backup_folder.VERSION,
        name=folder.name.removeprefix("."),
        created_at=now,
        program=f"mediavault {__version__}",
        database_schema=schema.head(),
        engine=engine,
        catalog=facts_of(folder / backup_folder.CATALOG),
        blobs=BlobFacts(
            copied.count, copied.size_bytes, blobs, dict(copied.missing), facts_of(folder / backup_folder.BLOBS)
        ),
        master_keys=tuple(await needed_keys(snapshot)),
        master_key_included=(folder / backup_folder.MASTER_KEY).exists(),
    )
    with new_file(folder / backup_folder.MANIFEST) as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        make_durable(file)


def facts_of(path: Path) -> FileFacts:
    """A file's size and digest."""
    with path.open("rb") as file:
        return FileFacts(*digest_of(file.fileno()))


def _line(blob: LiveBlob) -> BlobLine:
    return BlobLine(blob.id, blob.org_id, blob_key(blob.org_id, blob.id), blob.size_bytes, blob.sha256)


async def all_ended(works: Sequence[Coroutine[object, object, None]]) -> None:
    """Do all of them; the first failure cancels the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
