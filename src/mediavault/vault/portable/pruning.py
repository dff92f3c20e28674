"""Pruning a folder of backups: which snapshots stay, and the blobs that none of those needs deleted.

1. The lists of all snapshots that stay are read, and are as their manifests say; else nothing is removed.
2. The other snapshots lose their names, durably.
3. Blobs that no list has are deleted; so are those that a killed backup had copied for a snapshot that never was.

Cut off anywhere, every snapshot that has a name is whole, and the next prune does the rest.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from msgspec import Struct

from mediavault.blobs.store import BlobFile, BlobKey, BlobStore, blob_key, is_key
from mediavault.errors import BlobCorrupt, BlobNotFound, InvalidRequest
from mediavault.vault.portable.backing_up import all_ended, facts_of
from mediavault.vault.portable.backup_folder import BackupFolder, Snapshot

_AT_ONCE = 16


@dataclass(frozen=True)
class Keep:
    """Which snapshots stay: those that any of these names."""

    newest: int = 0  #: so many
    within_ms: int | None = None  #: those that are no older


class Plan(Struct, frozen=True):
    """Snapshots by their names, the oldest first."""

    kept: list[str]
    removed: list[str]


@dataclass
class Pruned:
    """How far a prune is."""

    doomed: int = 0  #: blobs that are to go
    blobs: int = 0  #: that are gone
    bytes: int = 0


class Pruning:
    """Prunes one folder, for who is alone in it."""

    def __init__(self, folder: BackupFolder, blobs: BlobStore) -> None:
        self._folder = folder
        self._blobs = blobs
        self.pruned = Pruned()

    def plan(self, keep: Keep, now: int) -> Plan:
        """What stays and what goes. The newest snapshot that came with its blobs stays in any case."""
        names = self._folder.names()
        kept = set(names[len(names) - keep.newest :] if keep.newest < len(names) else names)
        if keep.within_ms is not None:
            kept |= {name for name in names if now - self._folder.taken_at(name) <= keep.within_ms}
        kept |= self._newest_with_blobs(names)
        return Plan([name for name in names if name in kept], [name for name in names if name not in kept])

    def _newest_with_blobs(self, names: Sequence[str]) -> set[str]:
        for name in reversed(names):
            try:
                if self._folder.snapshot(name).manifest.blobs.included:
                    return {name}
            except InvalidRequest:  # nobody could restore it
                continue
        return set()

    async def run(self, plan: Plan, *, dry_run: bool) -> None:
        """Carry it out, or count what that would delete. Raises InvalidRequest where a list that is needed is bad."""
        needed = await asyncio.to_thread(self._needed, plan.kept)
        if not dry_run:
            await asyncio.to_thread(self._folder.sweep)
            await asyncio.to_thread(self._folder.forget, plan.removed)
        await self._delete_others(needed, dry_run=dry_run)
        if not dry_run:
            await self._blobs.sweep_staging(0)

    def _needed(self, names: Sequence[str]) -> set[BlobKey]:
        """The keys of all blobs that these list: also of a snapshot without blobs, whose vault may have lost them."""
        needed: set[BlobKey] = set()
        for name in names:
            snapshot = self._folder.snapshot(name)
            _require_list(snapshot)
            for line in snapshot.lines():
                if not is_key(line.id) or not is_key(line.organisation):
                    raise InvalidRequest(f"{snapshot.blobs} names {line.key[:60]!r}, which is no blob's key")
                needed.add(blob_key(line.organisation, line.id))
        return needed

    async def _delete_others(self, needed: set[BlobKey], *, dry_run: bool) -> None:
        doomed: list[BlobKey] = []
        async with aclosing(self._blobs.keys()) as keys:
            async for key in keys:
                if key not in needed:
                    doomed.append(key)
        self.pruned.doomed = len(doomed)
        for start in range(0, len(doomed), _AT_ONCE):
            group = doomed[start : start + _AT_ONCE]
            sizes = [self._size(key) for key in group]
            if not dry_run:
                await all_ended([self._blobs.delete(key) for key in group])
            self.pruned.blobs += len(group)
            self.pruned.bytes += sum(sizes)

    def _size(self, key: BlobKey) -> int:
        try:
            file: BlobFile | None = self._blobs.open_file(key)
        except (BlobNotFound, BlobCorrupt):  # it is no file, and goes all the same
            return 0
        if file is None:
            return 0
        file.close()
        return file.size_bytes


def _require_list(snapshot: Snapshot) -> None:
    """A list that lost a line would let a blob be deleted that is needed."""
    try:
        whole = facts_of(snapshot.blobs) == snapshot.manifest.blobs.list
    except OSError as error:
        raise InvalidRequest(f"{snapshot.blobs} cannot be read: {error.strerror}") from None
    if not whole:
        raise InvalidRequest(
            f"{snapshot.blobs} is not as it was written, so nobody knows which blobs it needs; nothing was pruned: "
            f"move {snapshot.folder} away, or mend it"
        )
