"""What is done with a snapshot: checking that it is whole, and bringing its blobs back into a vault's store."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from msgspec import Struct

from mediavault.blobs.store import BlobStore, blob_key, is_key
from mediavault.catalog import damage, snapshots
from mediavault.catalog.damage import LiveBlob
from mediavault.catalog.database import Catalog
from mediavault.errors import BlobCorrupt, BlobError, BlobNotFound, InvalidRequest
from mediavault.vault.integrity.damaging import difference
from mediavault.vault.portable.backing_up import all_ended, copied, facts_of, is_there
from mediavault.vault.portable.backup_folder import BlobLine, Snapshot

_AT_ONCE = 4
_PAGE = 500


class Fault(Struct, frozen=True):
    """One thing that is wrong with a backup."""

    code: str  #: stable, for machines
    text: str
    key: str | None = None  #: of the blob it is about


@dataclass
class Looked:
    """How far a check or a restore is."""

    count: int = 0
    size_bytes: int = 0
    blobs: int = 0
    bytes: int = 0
    faults: list[Fault] = field(default_factory=list)


class Checking:
    """Looks at a snapshot: its files, its rows, and every blob they need."""

    def __init__(self, snapshot: Snapshot, blobs: BlobStore, *, deep: bool) -> None:
        self._snapshot = snapshot
        self._blobs = blobs
        self._deep = deep
        facts = snapshot.manifest.blobs
        self.looked = Looked(facts.count, facts.size_bytes)

    async def check_files(self) -> None:
        """The catalog and the list of blobs are those of the manifest, and the catalog is sound."""
        manifest = self._snapshot.manifest
        for path, facts in ((self._snapshot.catalog, manifest.catalog), (self._snapshot.blobs, manifest.blobs.list)):
            try:
                if await asyncio.to_thread(facts_of, path) != facts:
                    self._add(f"{path.stem}_changed", f"{path.name} is not as it was written")
            except OSError as error:
                self._add(f"{path.stem}_unreadable", f"{path.name} cannot be read: {error.strerror}")
                return
        for fault in await asyncio.to_thread(snapshots.faults, self._snapshot.catalog):
            self._add("catalog_damaged", f"the catalog: {fault}")

    async def check_rows(self, catalog: Catalog) -> None:
        """Every blob that the catalog refers to is in the list, as the catalog says, and no other."""
        told = {line.id: (line.organisation, line.size_bytes, line.sha256) for line in self._snapshot.lines()}
        after = ""
        while page := await damage.live_blobs(catalog, after, _PAGE):
            after = page[-1].id
            for blob in page:
                if told.pop(blob.id, None) != (blob.org_id, blob.size_bytes, blob.sha256):
                    self._add("blob_unlisted", "the catalog has it, and the list does not, or otherwise", blob.id)
        for blob_id in told:
            self._add("blob_unknown", "the list has it, and the catalog does not", blob_id)

    async def check_blobs(self) -> None:
        """Every blob of the list is there, in its size or (deep) with its digest."""
        if not self._snapshot.manifest.blobs.included:
            return
        lines = _blobs(self._snapshot.lines())
        while group := list(islice(lines, _AT_ONCE)):
            await all_ended([self._look(blob) for blob in group])

    async def _look(self, blob: LiveBlob) -> None:
        try:
            if not await is_there(self._blobs, blob, deep=self._deep):
                self._add("blob_bad", "its bytes are missing, or are others", blob_key(blob.org_id, blob.id))
        except BlobError as error:
            self._add("blob_unreadable", str(error), blob_key(blob.org_id, blob.id))
        self.looked.blobs += 1
        self.looked.bytes += blob.size_bytes

    def _add(self, code: str, text: str, key: str | None = None) -> None:
        self.looked.faults.append(Fault(code, text, key))


class Recovering:
    """Brings the blobs of a snapshot into a store; those that are there already, with their digest, stay."""

    def __init__(self, snapshot: Snapshot, source: BlobStore | None, target: BlobStore) -> None:
        self._snapshot = snapshot
        self._source = source
        self._target = target
        facts = snapshot.manifest.blobs
        self.looked = Looked(facts.count, facts.size_bytes)

    async def run(self) -> None:
        """All of them; what is missing or bad in the backup is told in `looked.faults`. Raises BlobError."""
        lines = _blobs(self._snapshot.lines())
        while group := list(islice(lines, _AT_ONCE)):
            await all_ended([self._bring(blob) for blob in group])

    async def _bring(self, blob: LiveBlob) -> None:
        key = blob_key(blob.org_id, blob.id)
        if self._source is None:  # they are believed to lie where they always were
            fault = None if await is_there(self._target, blob, deep=False) else "it is not in the vault's store"
        elif await is_there(self._target, blob, deep=True):
            fault = None
        else:
            fault = await self._copy(self._source, blob)
        if fault is not None:
            self.looked.faults.append(Fault("blob_bad", fault, key))
        self.looked.blobs += 1
        self.looked.bytes += blob.size_bytes

    async def _copy(self, source: BlobStore, blob: LiveBlob) -> str | None:
        """What is wrong with it in the backup; None when it was copied."""
        key = blob_key(blob.org_id, blob.id)
        try:
            written = await copied(source, self._target, key)
        except (BlobNotFound, BlobCorrupt) as error:
            return str(error)
        wrong = difference(blob, written.size_bytes, written.sha256)
        if wrong is not None:
            await self._target.delete(key)
            return f"in the backup it has {wrong}"
        return None


def _blobs(lines: Iterator[BlobLine]) -> Iterator[LiveBlob]:
    for line in lines:
        if not is_key(line.id) or not is_key(line.organisation):
            raise InvalidRequest(f"{line.key[:60]!r} is no blob's key")
        yield LiveBlob(line.id, line.organisation, line.size_bytes, line.sha256)
