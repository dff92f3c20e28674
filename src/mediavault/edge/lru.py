"""Which edge copies stay: least recently used first, in three segments, so that a one-time scan flushes nothing.

    window      what was fetched last, a tenth of the capacity, running fills included
    probation   what was asked for once since it left the window; the first to go
    protected   what was asked for again there, up to four fifths of the rest; what overflows is on probation again

What leaves a full window must be asked for at least as often as what it would push out of the rest
(`domain/admission`), or goes itself. A copy that is open for reading is passed over. All state is a few words and
counters for each copy.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from mediavault.domain.admission import Frequencies, outranks
from mediavault.domain.times import MINUTE
from mediavault.edge.copies import EdgeCopy, Used


@dataclass(slots=True)
class _Use:
    copy: EdgeCopy
    used_at: int
    counted_at: int  #: the use that was last counted


class _Segment:
    """Copies in the order of their last use, and what they weigh."""

    def __init__(self) -> None:
        self.uses: OrderedDict[str, _Use] = OrderedDict()
        self.total_bytes = 0

    def put(self, use: _Use) -> None:
        self.uses[use.copy.variant_id] = use
        self.total_bytes += use.copy.size_bytes

    def take(self, variant_id: str) -> _Use:
        use = self.uses.pop(variant_id)
        self.total_bytes -= use.copy.size_bytes
        return use


class SegmentedLru:
    """Edge copies by variant. Knows no files, no clock and no threads."""

    _WINDOW_SHARE = 0.1
    _PROTECTED_SHARE = 0.8
    #: A contest looks past so many that are dearer than the candidate: it is held while the cache is locked.
    _MOST_PASSED_OVER = 64

    def __init__(self, capacity_bytes: int, same_use_ms: int = MINUTE) -> None:
        self._same_use_ms = same_use_ms
        self._window_bytes = int(capacity_bytes * self._WINDOW_SHARE)
        self._main_bytes = capacity_bytes - self._window_bytes
        self._window, self._probation, self._protected = _Segment(), _Segment(), _Segment()
        self._segments = (self._window, self._probation, self._protected)
        self._where: dict[str, _Segment] = {}
        self._readers: Counter[tuple[str, str]] = Counter()
        self._frequencies = Frequencies()
        self.evictions = 0
        self.rejected = 0  #: copies that lost against what was there

    def __len__(self) -> int:
        return len(self._where)

    @property
    def total_bytes(self) -> int:
        """What all copies weigh."""
        return sum(segment.total_bytes for segment in self._segments)

    @property
    def readers(self) -> int:
        """How many copies are open, each counted for every reader."""
        return self._readers.total()

    @property
    def oldest_used_at(self) -> int | None:
        """When the copy that was unused for longest was last used, ms; None while there is none."""
        firsts = [next(iter(segment.uses.values())).used_at for segment in self._segments if segment.uses]
        return min(firsts, default=None)

    def copies(self) -> list[EdgeCopy]:
        """All of them."""
        return [use.copy for segment in self._segments for use in segment.uses.values()]

    def uses(self) -> Iterator[Used]:
        """What to remember. Taken down at once, and put together while it is read: that may be after a lock is gone."""
        taken = [(name, use.used_at) for segment in self._segments for name, use in segment.uses.items()]
        frequencies = self._frequencies.copy()
        return (Used(name, used_at, frequencies.of(name)) for name, used_at in taken)

    def find(self, variant_id: str, now: int) -> EdgeCopy | None:
        """The variant's copy, now the most recently used one.

        The ranges of one viewing are one use: only what comes `same_use_ms` after the last counted one counts again.
        """
        segment = self._where.get(variant_id)
        if segment is None:
            return None
        use = segment.uses[variant_id]
        use.used_at = now
        segment.uses.move_to_end(variant_id)
        if now - use.counted_at >= self._same_use_ms:
            use.counted_at = now
            self._frequencies.see(variant_id)
            if segment is self._probation:
                self._move(variant_id, self._protected)
                self._demote()
        return use.copy

    def peek(self, variant_id: str) -> EdgeCopy | None:
        """The variant's copy; that is no use of it."""
        segment = self._where.get(variant_id)
        return None if segment is None else segment.uses[variant_id].copy

    def add(self, copy: EdgeCopy, now: int) -> EdgeCopy | None:
        """Take in a copy as the most recently used one; return the one it replaces. Its fill was a use."""
        replaced = self.remove(copy.variant_id)
        self._window.put(_Use(copy, now, now))
        self._where[copy.variant_id] = self._window
        self._frequencies.make_room(len(self))
        self._frequencies.see(copy.variant_id)
        self._settle(0)
        return replaced

    def restore(self, copy: EdgeCopy, used_at: int, frequency: int) -> EdgeCopy | None:
        """Take in a copy of an earlier process, with what is remembered of its use; return the one it replaces."""
        replaced = self.remove(copy.variant_id)
        segment = self._protected if frequency > 1 else self._probation
        segment.put(_Use(copy, used_at, used_at))
        self._where[copy.variant_id] = segment
        self._frequencies.make_room(len(self))
        self._frequencies.see(copy.variant_id, frequency)
        self._demote()
        return replaced

    def replace(self, old: EdgeCopy, new: EdgeCopy) -> bool:
        """Know something else of the same bytes. False where that copy is here no more."""
        segment = self._where.get(old.variant_id)
        if segment is None or segment.uses[old.variant_id].copy != old:
            return False
        segment.uses[old.variant_id].copy = new
        return True

    def remove(self, variant_id: str, version: str | None = None) -> EdgeCopy | None:
        """Forget the variant's copy, if it is of that version; return it."""
        segment = self._where.get(variant_id)
        if segment is None or version not in (None, segment.uses[variant_id].copy.version):
            return None
        return self._forget(variant_id)

    def opened(self, copy: EdgeCopy) -> None:
        """One reader more: it is not evicted until `closed`."""
        self._readers[copy.variant_id, copy.version] += 1

    def closed(self, copy: EdgeCopy) -> None:
        """One reader fewer."""
        key = (copy.variant_id, copy.version)
        self._readers[key] -= 1
        if self._readers[key] <= 0:
            del self._readers[key]

    def shrink(self, target_bytes: int, filling_bytes: int = 0) -> list[EdgeCopy]:
        """Forget copies until at most `target_bytes` are left, or none that may go; return them.

        `filling_bytes` are what running fills hold: they count as part of the window.
        """
        gone: list[EdgeCopy] = []
        self._settle(filling_bytes)
        while self.total_bytes > target_bytes:
            over = self._window.total_bytes + filling_bytes > self._window_bytes and self._spare_bytes >= 0
            candidate = next(self._unread(self._window), None) if over else None
            step = self._evict_one() if candidate is None else self._contest(candidate)
            if step is None:
                break
            gone += step
        return gone

    @property
    def _spare_bytes(self) -> int:
        return self._main_bytes - self._probation.total_bytes - self._protected.total_bytes

    def _contest(self, candidate: EdgeCopy) -> list[EdgeCopy]:
        """Let a copy move from the window to the rest, where that has enough that is no dearer; else it goes itself."""
        frequency, spare = self._frequencies.of(candidate.variant_id), self._spare_bytes
        victims: list[EdgeCopy] = []
        dearer = 0
        for victim in chain(self._unread(self._probation), self._unread(self._protected)):
            if spare >= candidate.size_bytes or dearer > self._MOST_PASSED_OVER:
                break
            if outranks(frequency, self._frequencies.of(victim.variant_id)):
                victims.append(victim)
                spare += victim.size_bytes
            else:
                dearer += 1
        if spare < candidate.size_bytes:
            self.rejected += 1
            return [self._forget(candidate.variant_id)]
        self._move(candidate.variant_id, self._probation)
        self.evictions += len(victims)
        return [self._forget(victim.variant_id) for victim in victims]

    def _evict_one(self) -> list[EdgeCopy] | None:
        """None where nothing may go."""
        for copy in chain.from_iterable(map(self._unread, (self._probation, self._protected, self._window))):
            self.evictions += 1
            return [self._forget(copy.variant_id)]
        return None

    def _settle(self, filling_bytes: int) -> None:
        """Let what overflows the window move on while there is spare room for it."""
        for copy in list(self._overflow(filling_bytes)):
            if copy.size_bytes > self._spare_bytes:
                return
            self._move(copy.variant_id, self._probation)

    def _overflow(self, filling_bytes: int) -> Iterator[EdgeCopy]:
        over = self._window.total_bytes + filling_bytes - self._window_bytes
        for use in self._window.uses.values():
            if over <= 0:
                return
            over -= use.copy.size_bytes
            yield use.copy

    def _demote(self) -> None:
        while self._protected.total_bytes > self._main_bytes * self._PROTECTED_SHARE and len(self._protected.uses) > 1:
            self._move(next(iter(self._protected.uses)), self._probation)

    def _move(self, variant_id: str, target: _Segment) -> None:
        target.put(self._where[variant_id].take(variant_id))
        self._where[variant_id] = target

    def _forget(self, variant_id: str) -> EdgeCopy:
        return self._where.pop(variant_id).take(variant_id).copy

    def _unread(self, segment: _Segment) -> Iterator[EdgeCopy]:
        for use in segment.uses.values():
            if (use.copy.variant_id, use.copy.version) not in self._readers:
                yield use.copy
