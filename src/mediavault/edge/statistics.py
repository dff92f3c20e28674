"""The edge cache in numbers, for metrics and the console."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from mediavault.edge.lru import SegmentedLru
from mediavault.edge.space import Space


@dataclass(frozen=True)
class EdgeStatistics:
    """Sizes are of now; counts are since the start of the process."""

    copies: int
    total_bytes: int
    capacity_bytes: int
    reserved_bytes: int  #: promised to running fills and not yet written
    filling_bytes: int  #: what running fills hold of the capacity, written or promised
    oldest_used_at: int | None  #: ms; if that is recent, the capacity is small for the demand
    readers: int  #: of copies; what they read is not evicted
    hits: int  #: answers from a copy
    misses: int  #: answers from a fill, begun or joined
    evictions: int  #: copies that made room for others
    admitted: int  #: fills that became a copy
    rejected: int  #: copies and fills that did not deserve their room, or were larger than the capacity
    trimmed_bytes: int  #: evicted because somebody else filled the disk
    revalidated: int  #: stale copies whose origin said that they are still right
    superseded: int  #: stale copies of which the origin has other bytes now
    stale_served: Mapping[str, int]  #: stale copies served because the origin failed, by the class of its error


@dataclass
class Counts:
    """What is counted as it happens."""

    hits: int = 0
    misses: int = 0
    admitted: int = 0
    too_large: int = 0
    trimmed_bytes: int = 0
    revalidated: int = 0
    superseded: int = 0
    stale_served: Counter[str] = field(default_factory=Counter)


def present(counts: Counts, lru: SegmentedLru, space: Space, capacity_bytes: int) -> EdgeStatistics:
    """The present numbers, of whoever holds the cache's lock."""
    return EdgeStatistics(
        copies=len(lru),
        total_bytes=lru.total_bytes,
        capacity_bytes=capacity_bytes,
        reserved_bytes=space.promised_bytes,
        filling_bytes=space.held_bytes,
        oldest_used_at=lru.oldest_used_at,
        readers=lru.readers,
        hits=counts.hits,
        misses=counts.misses,
        evictions=lru.evictions,
        admitted=counts.admitted,
        rejected=lru.rejected + counts.too_large,
        trimmed_bytes=counts.trimmed_bytes,
        revalidated=counts.revalidated,
        superseded=counts.superseded,
        stale_served=dict(counts.stale_served),
    )
