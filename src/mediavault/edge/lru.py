"""The order in which edge copies were last used, and what must go when they are too many."""

from collections import OrderedDict
from dataclasses import dataclass

from mediavault.edge.copies import EdgeCopy


@dataclass(frozen=True, slots=True)
class _Use:
    copy: EdgeCopy
    used_at: int


class Lru:
    """Edge copies by variant, least recently used first. Knows no files, no clock and no threads."""

    def __init__(self) -> None:
        self._uses: OrderedDict[str, _Use] = OrderedDict()
        self.total_bytes = 0

    def __len__(self) -> int:
        return len(self._uses)

    @property
    def oldest_used_at(self) -> int | None:
        """When the next copy to go was last used, ms; None while there is none."""
        return next((use.used_at for use in self._uses.values()), None)

    def find(self, variant_id: str, now: int) -> EdgeCopy | None:
        """The variant's copy, now the most recently used one."""
        use = self._uses.get(variant_id)
        if use is None:
            return None
        self._uses[variant_id] = _Use(use.copy, now)
        self._uses.move_to_end(variant_id)
        return use.copy

    def add(self, copy: EdgeCopy, now: int) -> EdgeCopy | None:
        """Take in a copy as the most recently used one; return the one it replaces."""
        replaced = self.remove(copy.variant_id)
        self._uses[copy.variant_id] = _Use(copy, now)
        self.total_bytes += copy.size_bytes
        return replaced

    def remove(self, variant_id: str, version: str | None = None) -> EdgeCopy | None:
        """Forget the variant's copy, if it is of that version; return it."""
        use = self._uses.get(variant_id)
        if use is None or version not in (None, use.copy.version):
            return None
        del self._uses[variant_id]
        self.total_bytes -= use.copy.size_bytes
        return use.copy

    def shrink(self, target_bytes: int) -> list[EdgeCopy]:
        """Forget the least recently used copies until at most `target_bytes` are left; return them."""
        gone = []
        while self.total_bytes > target_bytes:
            _, use = self._uses.popitem(last=False)
            self.total_bytes -= use.copy.size_bytes
            gone.append(use.copy)
        return gone
