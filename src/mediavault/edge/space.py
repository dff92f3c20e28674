"""Free disk space, shared out before it is used."""

import threading
from collections.abc import Callable

from mediavault.errors import DiskFull


class Space:
    """Promises disk space to fills, so that together they leave the floor untouched. Safe from any thread.

    Kept at every promise: free_bytes() - everything promised and not yet written >= floor_bytes.
    """

    def __init__(self, free_bytes: Callable[[], int], floor_bytes: int, make_room: Callable[[int], bool]) -> None:
        """`make_room(n)` tries to free n bytes, and says whether it is worth looking again."""
        self._free_bytes = free_bytes
        self._floor_bytes = floor_bytes
        self._make_room = make_room
        self._lock = threading.Lock()
        self._promised_bytes = 0

    @property
    def promised_bytes(self) -> int:
        """What is promised and not yet written."""
        return self._promised_bytes

    def promise(self, size_bytes: int) -> None:
        """Set space aside. Raises DiskFull, with nothing set aside."""
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

    def _try(self, size_bytes: int) -> int:
        """Promise if there is room; else say how many bytes are missing."""
        with self._lock:
            missing = self._promised_bytes + size_bytes + self._floor_bytes - self._free_bytes()
            if missing <= 0:
                self._promised_bytes += size_bytes
            return missing
