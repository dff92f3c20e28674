"""Disk space and the cache's capacity, shared out to fills before they use it."""

import threading
from collections.abc import Callable

from mediavault.errors import DiskFull


class Space:
    """Promises disk space to fills, so that together they leave the floor untouched. Safe from any thread.

    Kept at every promise:
      free_bytes() - everything promised and not yet written >= floor_bytes
      all copies + everything that running fills hold, written or promised <= the capacity
    The second does not bind a fill that is larger than the whole capacity, and so can never become a copy: the floor
    alone limits it, for otherwise it could not even be stored.
    """

    def __init__(
        self,
        free_bytes: Callable[[], int],
        floor_bytes: int,
        capacity_bytes: int,
        make_room: Callable[[int], bool],
        evict_for: Callable[[int], int],
    ) -> None:
        """`make_room(n)` tries to free n bytes, and says whether it is worth looking again.

        `evict_for(n)` evicts copies until fills may hold n bytes of the capacity; it returns how many are missing.
        """
        self._free_bytes = free_bytes
        self._floor_bytes = floor_bytes
        self._capacity_bytes = capacity_bytes
        self._make_room = make_room
        self._evict_for = evict_for
        self._lock = threading.Lock()
        self._promised_bytes = 0
        self._held_bytes = 0

    @property
    def promised_bytes(self) -> int:
        """What is promised and not yet written."""
        return self._promised_bytes

    @property
    def held_bytes(self) -> int:
        """What running fills hold of the capacity, written or promised."""
        return self._held_bytes

    @property
    def lacking_bytes(self) -> int:
        """How many bytes must be freed for the floor and the promises to hold; others may have filled the disk."""
        with self._lock:
            return max(0, self._promised_bytes + self._floor_bytes - self._free_bytes())

    def share(self, size_bytes: int) -> "Share":
        """Set space aside for a new fill. Raises DiskFull, with nothing set aside."""
        share = Share(self)
        share.promise(size_bytes)
        return share

    def take(self, size_bytes: int) -> None:
        """Set space of the disk aside. Raises DiskFull, with nothing set aside."""
        missing = self._try(size_bytes)
        if missing > 0 and self._make_room(missing):
            missing = self._try(size_bytes)
        if missing > 0:
            raise DiskFull(
                f"{size_bytes} more bytes would leave less than the {self._floor_bytes} the edge cache keeps free; "
                f"{missing} are missing: free some space, or lower the floor"
            )

    def release(self, size_bytes: int) -> None:
        """Take back a promise: it is not wanted any more, or it was written and the disk counts it now."""
        with self._lock:
            self._promised_bytes -= size_bytes

    def hold(self, size_bytes: int, *, held_before: int) -> int:
        """Let a fill hold so much more of the capacity. Raises DiskFull, with nothing changed.

        How many bytes it holds now: 0 for one that has outgrown the whole capacity.
        """
        wanted = held_before + size_bytes
        if wanted > self._capacity_bytes:
            self.let_go(held_before)
            return 0
        with self._lock:  # first held, then made room for: whoever comes at the same moment counts it already
            self._held_bytes += size_bytes
            held = self._held_bytes
        missing = self._evict_for(held)
        if missing > 0:
            self.let_go(size_bytes)
            raise DiskFull(
                f"{size_bytes} more bytes do not fit the edge cache: its {self._capacity_bytes} are taken by running "
                "fills and by copies that are being read; try again, or raise the capacity"
            )
        return wanted

    def let_go(self, size_bytes: int) -> None:
        """Give back what was held of the capacity."""
        with self._lock:
            self._held_bytes -= size_bytes

    def _try(self, size_bytes: int) -> int:
        """Promise if there is room; else say how many bytes are missing."""
        with self._lock:
            missing = self._promised_bytes + size_bytes + self._floor_bytes - self._free_bytes()
            if missing <= 0:
                self._promised_bytes += size_bytes
            return missing


class Share:
    """One fill's part: of the disk until it is written, of the capacity until the fill ends."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._held_bytes = 0
        self._outgrown = False
        self._ended = False

    def promise(self, size_bytes: int) -> None:
        """Set more aside. Raises DiskFull, with nothing set aside."""
        before = self._held_bytes
        if not self._outgrown:
            self._held_bytes = self._space.hold(size_bytes, held_before=before)
            self._outgrown = self._held_bytes < before + size_bytes
        try:
            self._space.take(size_bytes)
        except BaseException:
            if not self._outgrown:
                self._space.let_go(size_bytes)
                self._held_bytes = before
            raise

    def release(self, size_bytes: int) -> None:
        """So many bytes were written: the disk's own count has them from now on, the capacity until the end."""
        self._space.release(size_bytes)

    def give_back(self, size_bytes: int) -> None:
        """So many bytes are not wanted any more, or not yet."""
        self._space.release(size_bytes)
        unheld = min(size_bytes, self._held_bytes)
        self._space.let_go(unheld)
        self._held_bytes -= unheld

    def end(self) -> None:
        """The fill is over: its bytes are a copy now, or nothing. Ending twice is fine."""
        if not self._ended:
            self._ended = True
            self._space.let_go(self._held_bytes)
            self._held_bytes = 0
