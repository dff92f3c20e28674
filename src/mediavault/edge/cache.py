"""The edge cache: complete copies of variants in a bounded local folder; what is used least goes first.

A cache may lose anything at any time, so nothing is synced; but what it gives is whole: a copy has its own file for
each version, enters by a rename, and is checked for its size whenever it is opened. Every method may be called from any
thread; the lock is never held across a system call, so that `find` on the event loop waits for no disk.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path

import msgspec

from mediavault import folders
from mediavault.domain.times import Now
from mediavault.edge.config import EdgeConfig
from mediavault.edge.copies import EdgeCopy, OpenCopy, copy_path, remove_copy, scan_used, write_uses
from mediavault.edge.digests import open_copy
from mediavault.edge.journal import Journal
from mediavault.edge.lru import SegmentedLru
from mediavault.edge.space import Space
from mediavault.edge.staging import Staging, edge_error
from mediavault.edge.statistics import Counts, EdgeStatistics, present
from mediavault.errors import ConfigError

__all__ = ["EdgeCache", "EdgeConfig"]


class EdgeCache:
    """Complete copies of variants, and the staging files that become copies. Opened with `EdgeCache.open`."""

    def __init__(self, folder: Path, config: EdgeConfig, now: Now, free_bytes: Callable[[], int]) -> None:
        self._copies = folder / "copies"
        self._staging = folder / "staging"
        self._uses = folder / "uses.json"
        self._journal = Journal(folder / "copies.jsonl")
        self._config = config
        self._now = now
        self._space = Space(
            free_bytes, config.free_floor_bytes, config.capacity_bytes, self._make_room, self._evict_for
        )
        self._lru = SegmentedLru(config.capacity_bytes, config.same_use_ms)
        self._lock = threading.Lock()
        self._counts = Counts()
        self._numbers = count(1)  #: of the staging files

    @classmethod
    def open(
        cls, folder: Path, config: EdgeConfig, now: Now, *, free_bytes: Callable[[], int] | None = None
    ) -> "EdgeCache":
        """Make the folder or take up what an earlier process left in it. Raises ConfigError if neither can be done.

        One process at a time may have the folder. `free_bytes` says how much its disk still takes.
        """
        cache = cls(folder, config, now, free_bytes or partial(folders.free_bytes, str(folder)))
        try:
            cache._take_up()
        except OSError as error:
            raise ConfigError(f"the edge cache's folder {folder} cannot be used: {error.strerror or error}") from error
        return cache

    def stage(self, expected_bytes: int | None = None, *, with_sha256: bool = True) -> Staging:
        """Start a fill of so many bytes; None where the origin does not say. `with_sha256`: hashed as it comes.

        Raises DiskFull where they would leave less than the floor even after copies as large were evicted, or where
        running fills and copies that are being read take the capacity.
        """
        if expected_bytes is not None and expected_bytes < 0:
            raise ValueError(f"a fill of {expected_bytes} bytes")
        promised = self._config.growth_bytes if expected_bytes is None else expected_bytes
        path = Path(f"{self._staging}/{next(self._numbers)}")
        try:
            share = self._space.share(promised)
        except OSError as error:
            raise edge_error(error) from error
        try:
            growth = self._config.growth_bytes
            return Staging(path, share, promised_bytes=promised, growth_bytes=growth, with_sha256=with_sha256)
        except OSError as error:
            share.give_back(promised)
            share.end()
            raise edge_error(error) from error

    def keep(self, staging: Staging, copy: EdgeCopy) -> EdgeCopy | None:
        """Make a finished fill the variant's copy and evict down to the capacity. Blocks: call it in a thread.

        None where there is no room for it: its file is discarded then. `staging.fd` stays open either way. Raises
        ValueError where `copy` does not describe the bytes, DiskFull, BlobUnavailable.
        """
        path = copy_path(self._copies, copy)
        if (copy.size_bytes, copy.sha256, copy.checksum) != (staging.written, staging.digest(), staging.checksum()):
            raise ValueError(f"{copy.size_bytes} bytes announced, {staging.written} staged, or another digest")
        if copy.size_bytes > self._config.capacity_bytes:
            self._counts.too_large += 1
            staging.discard()
            return None
        try:
            staging.move(path)
        except OSError as error:
            staging.discard()
            remove_copy(path)
            staging.share.end()
            raise edge_error(error) from error
        with self._lock:
            replaced = self._lru.add(copy, self._now())
            self._counts.admitted += 1
        staging.share.end()  # only now: its bytes must not be free for a moment between fill and copy
        if replaced and replaced.version != copy.version:
            remove_copy(self.path(replaced))
        try:
            self._journal.append(copy)
        except OSError as error:
            self._drop(copy.variant_id, copy.version)
            raise edge_error(error) from error
        if self._evict_for(self._space.held_bytes) <= 0:
            return copy
        self._drop(copy.variant_id, copy.version)
        return None

    def has_room_for(self, copy: EdgeCopy) -> bool:
        """Whether `keep` would evict nothing, not even a copy that it replaces."""
        held = self.total_bytes + self._space.held_bytes
        return self.peek(copy.variant_id) is None and held <= self._config.capacity_bytes

    def find(self, variant_id: str) -> EdgeCopy | None:
        """The variant's copy; it counts as used."""
        with self._lock:
            return self._lru.find(variant_id, self._now())

    def peek(self, variant_id: str) -> EdgeCopy | None:
        """The variant's copy, for somebody who does not view it."""
        with self._lock:
            return self._lru.peek(variant_id)

    def path(self, copy: EdgeCopy) -> Path:
        """Where the copy's bytes are, unless it has been evicted."""
        return copy_path(self._copies, copy)

    def open_file(self, copy: EdgeCopy) -> OpenCopy | None:
        """Exactly this copy's bytes, for its opener to close; until then it is not evicted.

        None where they vanished or are not whole: the copy is dropped then. Raises BlobUnavailable where there are no
        descriptors left.
        """
        closed = self._held(copy)
        try:
            opened = open_copy(self.path(copy), copy)
        except OSError as error:
            closed()
            raise edge_error(error) from error
        if opened is None:
            closed()
            self._drop(copy.variant_id, copy.version)
            return None
        fd, sha256 = opened
        with self._lock:
            self._counts.hits += 1
            if copy.sha256 is None:
                self._lru.replace(copy, msgspec.structs.replace(copy, sha256=sha256))
        return OpenCopy(fd, copy.size_bytes, sha256, closed)

    @contextmanager
    def reading(self, copy: EdgeCopy) -> Iterator[Path]:
        """The path of a copy that is not evicted meanwhile, if it is still there."""
        closed = self._held(copy)
        try:
            yield self.path(copy)
        finally:
            closed()

    def refresh(self, copy: EdgeCopy, fresh_until: int) -> EdgeCopy:
        """The origin says that the copy is still right, until then. Blocks: call it in a thread."""
        fresh = msgspec.structs.replace(copy, fresh_until=fresh_until)
        with self._lock:
            self._counts.revalidated += 1
            is_here = self._lru.replace(copy, fresh)
        if is_here:
            with suppress(OSError):  # after a restart it is revalidated again
                self._journal.append(fresh)
        return fresh

    def count_miss(self) -> None:
        """A view needs a fill: neither a copy nor a blob could answer it."""
        with self._lock:
            self._counts.misses += 1

    def count_superseded(self) -> None:
        """The origin has other bytes now; they take the copy's place once they are here."""
        with self._lock:
            self._counts.superseded += 1

    def serve_stale(self, reason: str) -> None:
        """A stale copy is served all the same; count why."""
        with self._lock:
            self._counts.stale_served[reason] += 1

    def drop(self, variant_id: str) -> None:
        """Forget the variant's copy, if there is one."""
        self._drop(variant_id)

    @property
    def total_bytes(self) -> int:
        """What all copies together have."""
        return self._lru.total_bytes

    def statistics(self) -> EdgeStatistics:
        """The present numbers."""
        with self._lock:
            return present(self._counts, self._lru, self._space, self._config.capacity_bytes)

    def trim(self) -> int:
        """Evict until the floor is free again, whoever filled the disk. Blocks. How many bytes went.

        Raises BlobUnavailable where the disk does not say how much is free.
        """
        try:
            lacking = self._space.lacking_bytes
        except OSError as error:
            raise edge_error(error) from error
        if lacking == 0:
            return 0
        with self._lock:
            target = max(0, self._lru.total_bytes - lacking)
        gone = self._evict_to(target)
        with self._lock:
            self._counts.trimmed_bytes += gone
        return gone

    def remember(self) -> None:
        """Write down how the copies were used, for the next start. Blocks. Raises DiskFull, BlobUnavailable."""
        with self._lock:
            uses = self._lru.uses()
        try:
            write_uses(self._uses, uses)
            if self._journal.is_long(len(self._lru)):
                self._journal.rewrite(self._current)
        except OSError as error:
            raise edge_error(error) from error

    def _current(self) -> list[EdgeCopy]:
        with self._lock:
            return self._lru.copies()

    def _take_up(self) -> None:
        for folder in (self._copies.parent, self._copies, self._staging):  # a parent by itself, or it has no mode
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in self._staging.iterdir():
            leftover.unlink()
        for copy, used in scan_used(self._copies, self._journal.read(), self._uses):
            # An earlier process may have died between a new version's rename and the old one's removal.
            replaced = self._lru.restore(copy, used.used_at, used.frequency)
            if replaced:
                remove_copy(self.path(replaced))
        self._evict_for(0)
        if not self._journal.is_empty:
            self._journal.rewrite(self._lru.copies)

    def _make_room(self, size_bytes: int) -> bool:
        """Evict copies of so many bytes, if there are so many: a fill that somebody waits for comes first."""
        with self._lock:
            target = self._lru.total_bytes - size_bytes
        if target < 0:
            return False
        self._evict_to(target)
        return True

    def _evict_for(self, held_bytes: int) -> int:
        """Evict until fills may hold so much of the capacity; how many bytes are missing."""
        target = self._config.capacity_bytes - held_bytes
        self._evict_to(target)
        return max(0, self._lru.total_bytes - target)

    def _evict_to(self, target_bytes: int) -> int:
        with self._lock:
            gone = self._lru.shrink(target_bytes, self._space.held_bytes)
        for copy in gone:
            remove_copy(self.path(copy))
        return sum(copy.size_bytes for copy in gone)

    def _held(self, copy: EdgeCopy) -> Callable[[], None]:
        """Keep a copy from being evicted until the result is called."""
        with self._lock:
            self._lru.opened(copy)

        def closed() -> None:
            with self._lock:
                self._lru.closed(copy)

        return closed

    def _drop(self, variant_id: str, version: str | None = None) -> None:
        with self._lock:
            gone = self._lru.remove(variant_id, version)
        if gone:
            remove_copy(self.path(gone))
