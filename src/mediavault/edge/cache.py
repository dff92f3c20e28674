"""The edge cache: complete copies of variants in a bounded local folder, least recently used out first.

A cache may lose anything at any time, so nothing is synced; but what it gives is whole: a copy has its own file for
each version, enters by a rename, and is checked for its size whenever it is opened. Every method may be called from any
thread; the lock is never held across a system call, so that `find` on the event loop waits for no disk.
"""

import errno
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mediavault.domain.times import Now
from mediavault.edge.copies import EdgeCopy, copy_path, remove_copy, scan, write_sidecar
from mediavault.edge.lru import Lru
from mediavault.edge.space import Space
from mediavault.edge.staging import Staging, edge_error
from mediavault.errors import BlobUnavailable, ConfigError

GIB = 1 << 30

#: This process or machine is out of descriptors: that says nothing of the copy.
_NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}


@dataclass(frozen=True)
class EdgeConfig:
    """How much room the edge cache may take."""

    capacity_bytes: int = 10 * GIB  #: what all copies together may have, bytes; 0 keeps none
    free_floor_bytes: int = 1 * GIB  #: fills leave at least so much of the disk free, bytes
    growth_bytes: int = 8 << 20  #: set aside at a time for a fill whose length is unknown or was wrong, bytes

    def __post_init__(self) -> None:
        if min(self.capacity_bytes, self.free_floor_bytes) < 0 or self.growth_bytes <= 0:
            raise ConfigError("the edge cache's capacity and floor must be 0 bytes or more, its growth 1 or more")


@dataclass(frozen=True)
class EdgeStatistics:
    """The edge cache in numbers, for metrics and the console. Counts are since the start."""

    copies: int
    total_bytes: int
    capacity_bytes: int
    reserved_bytes: int  #: set aside for fills and not yet written
    oldest_used_at: int | None  #: ms; if that is recent, the capacity is small for the demand
    hits: int
    misses: int
    evictions: int


class EdgeCache:
    """Complete copies of variants, and the staging files that become copies. Opened with `EdgeCache.open`."""

    def __init__(self, folder: Path, config: EdgeConfig, now: Now, free_bytes: Callable[[], int]) -> None:
        self._copies = folder / "copies"
        self._staging = folder / "staging"
        self._config = config
        self._now = now
        self._space = Space(free_bytes, config.free_floor_bytes, self._make_room)
        self._lru = Lru()
        self._lock = threading.Lock()
        self._hits = self._misses = self._evictions = 0

    @classmethod
    def open(
        cls, folder: Path, config: EdgeConfig, now: Now, *, free_bytes: Callable[[], int] | None = None
    ) -> "EdgeCache":
        """Make the folder or take up what an earlier process left in it. Raises ConfigError if neither can be done.

        One process at a time may have the folder. `free_bytes` says how much its disk still takes.
        """
        cache = cls(folder, config, now, free_bytes or (lambda: shutil.disk_usage(folder).free))
        try:
            cache._take_up()
        except OSError as error:
            raise ConfigError(f"the edge cache's folder {folder} cannot be used: {error.strerror or error}") from error
        return cache

    def stage(self, expected_bytes: int | None = None) -> Staging:
        """Start a fill of so many bytes; None where the origin does not say.

        Raises DiskFull where they would leave less than the floor even after copies as large were evicted.
        """
        if expected_bytes is not None and expected_bytes < 0:
            raise ValueError(f"a fill of {expected_bytes} bytes")
        promised = self._config.growth_bytes if expected_bytes is None else expected_bytes
        path = self._staging / secrets.token_hex(16)
        try:
            self._space.promise(promised)
        except OSError as error:
            raise edge_error(error) from error
        try:
            return Staging(path, self._space, promised_bytes=promised, growth_bytes=self._config.growth_bytes)
        except OSError as error:
            self._space.release(promised)
            raise edge_error(error) from error

    def keep(self, staging: Staging, copy: EdgeCopy) -> EdgeCopy | None:
        """Make a finished fill the variant's copy and evict down to the capacity. Blocks: call it in a thread.

        None where the copy is larger than the whole capacity: its file is discarded then. `staging.fd` stays open
        either way. Raises ValueError where `copy` does not describe the bytes, DiskFull, BlobUnavailable.
        """
        path = copy_path(self._copies, copy)
        if (copy.size_bytes, copy.sha256) != (staging.written, staging.digest()):
            raise ValueError(f"{copy.size_bytes} bytes announced, {staging.written} staged, or another digest")
        if copy.size_bytes > self._config.capacity_bytes:
            staging.discard()
            return None
        try:
            staging.move(path)
            write_sidecar(path, copy)
        except OSError as error:
            staging.discard()
            remove_copy(path)
            raise edge_error(error) from error
        with self._lock:
            replaced = self._lru.add(copy, self._now())
        if replaced and replaced.version != copy.version:
            remove_copy(self.path(replaced))
        self._evict_to(self._config.capacity_bytes)
        return copy

    def find(self, variant_id: str) -> EdgeCopy | None:
        """The variant's copy; it counts as used."""
        with self._lock:
            copy = self._lru.find(variant_id, self._now())
            if copy is None:
                self._misses += 1
            else:
                self._hits += 1
            return copy

    def path(self, copy: EdgeCopy) -> Path:
        """Where the copy's bytes are, unless it has been evicted."""
        return copy_path(self._copies, copy)

    def open_file(self, copy: EdgeCopy) -> int | None:
        """A descriptor of exactly this copy's bytes, for its opener to close; it outlives an eviction.

        None where they vanished or are not whole: the copy is dropped then. Raises BlobUnavailable where there are no
        descriptors left.
        """
        try:
            fd = os.open(self.path(copy), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS:
                raise BlobUnavailable(f"the edge cache: {error.strerror}") from error
            self._drop(copy.variant_id, copy.version)
            return None
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode) and status.st_size == copy.size_bytes:
            return fd
        os.close(fd)
        self._drop(copy.variant_id, copy.version)
        return None

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
            return EdgeStatistics(
                copies=len(self._lru),
                total_bytes=self._lru.total_bytes,
                capacity_bytes=self._config.capacity_bytes,
                reserved_bytes=self._space.promised_bytes,
                oldest_used_at=self._lru.oldest_used_at,
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
            )

    def _take_up(self) -> None:
        for folder in (self._copies, self._staging):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in self._staging.iterdir():
            leftover.unlink()
        for copy in scan(self._copies):
            # An earlier process may have died between a new version's rename and the old one's removal.
            replaced = self._lru.add(copy, copy.fetched_at)
            if replaced:
                remove_copy(self.path(replaced))
        self._evict_to(self._config.capacity_bytes)

    def _make_room(self, size_bytes: int) -> bool:
        """Evict copies of so many bytes, if there are so many: a fill that somebody waits for comes first."""
        with self._lock:
            target = self._lru.total_bytes - size_bytes
        if target < 0:
            return False
        self._evict_to(target)
        return True

    def _evict_to(self, target_bytes: int) -> None:
        with self._lock:
            gone = self._lru.shrink(target_bytes)
            self._evictions += len(gone)
        for copy in gone:
            remove_copy(self.path(copy))

    def _drop(self, variant_id: str, version: str | None = None) -> None:
        with self._lock:
            gone = self._lru.remove(variant_id, version)
        if gone:
            remove_copy(self.path(gone))
