"""What was worked out from rows, for as long as nothing is committed: kept in this process, and exact.

Commits are counted before a reader can see them and again before their caller is told (`Catalog.commits`). So whoever
was answered that something changed finds nothing here that is older. A catalog that other processes write to counts no
commits; of it nothing is kept.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from mediavault.catalog.database import Catalog

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_MOST_BYTES = 16 << 20
#: Commits are counted from 0.
_NEVER = -1


class Remembered(Generic[K, V]):
    """Values by key since the last commit; so many at most, and so many bytes of what their keeper says they take."""

    def __init__(self, catalog: Catalog, *, most: int = 4096, forget: Callable[[V], None] | None = None) -> None:
        """`forget` is told of every value that is kept no longer."""
        self._catalog = catalog
        self._most = most
        self._forget = forget
        self._values: dict[K, V] = {}
        self._bytes = 0
        self._as_of = _NEVER

    def __len__(self) -> int:
        return len(self._values)

    @property
    def now(self) -> int | None:
        """To be asked before the rows are read, and given to `keep`."""
        return self._catalog.commits

    def find(self, key: K) -> V | None:
        """What was kept of it, if nothing was committed since."""
        return self._values.get(key) if self._catalog.commits == self._as_of else None

    def keep(self, as_of: int | None, key: K, value: V, size_bytes: int) -> bool:
        """Remember it, unless there was a commit while it was worked out, or it is there; whether it was kept."""
        if as_of is None or as_of != self._catalog.commits:
            return False
        if as_of != self._as_of or len(self._values) >= self._most or self._bytes + size_bytes > _MOST_BYTES:
            self.clear()
            self._as_of = as_of
        if self._values.setdefault(key, value) is not value:
            return False
        self._bytes += size_bytes
        return True

    def discard(self, key: K) -> None:
        """It turned out to be old."""
        value = self._values.pop(key, None)
        if value is not None and self._forget is not None:
            self._forget(value)

    def clear(self) -> None:
        """Remember nothing."""
        values, self._values, self._bytes = self._values, {}, 0
        if self._forget is not None:
            for value in values.values():
                self._forget(value)
