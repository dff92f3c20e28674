"""Which stored variants make room: a pure choice among candidates, by the connection's strategy."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mediavault.domain.settings import PurgeStrategy


@dataclass(frozen=True)
class Candidate:
    """A stored variant that could go."""

    variant_id: str
    size_bytes: int
    stored_at: int  #: Unix ms
    pinned: bool = False


#: How each strategy orders what it evicts; equals go by their ids, so that the choice is always the same one.
_ORDERS: dict[str, Callable[[Candidate], tuple[int, str]]] = {
    "purge_oldest": lambda candidate: (candidate.stored_at, candidate.variant_id),
    "purge_largest": lambda candidate: (-candidate.size_bytes, candidate.variant_id),
    "purge_smallest": lambda candidate: (candidate.size_bytes, candidate.variant_id),
}


def choose(candidates: Iterable[Candidate], strategy: PurgeStrategy, excess_bytes: int) -> list[Candidate]:
    """What to evict, in that order, until `excess_bytes` are free: no more than needed, all there is when too little.

    Pinned ones stay, and so do empty ones, which would free nothing. `block_new` evicts nothing.
    """
    order = _ORDERS.get(strategy)
    chosen: list[Candidate] = []
    if order is None:
        return chosen
    for candidate in sorted(candidates, key=order):
        if excess_bytes <= 0:
            break
        if not candidate.pinned and candidate.size_bytes > 0:
            chosen.append(candidate)
            excess_bytes -= candidate.size_bytes
    return chosen
