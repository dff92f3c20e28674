"""Where a request's bytes come from: the nearest source that may answer."""

from dataclasses import dataclass

from mediavault.domain.lifecycle import LIVE, Status


@dataclass(frozen=True, slots=True)
class FromStore:
    """The durable blob."""


@dataclass(frozen=True, slots=True)
class FromEdge:
    """The edge cache's complete and fresh copy."""


@dataclass(frozen=True, slots=True)
class Revalidate:
    """The edge cache's complete copy, once the origin has said that it is still right."""


@dataclass(frozen=True, slots=True)
class FromFill:
    """The growing file of a fetch that runs already."""


@dataclass(frozen=True, slots=True)
class FromOrigin:
    """A fetch to be started."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """The origin failed lately; asking it again at every view would be noise."""

    until: int  #: Unix ms


@dataclass(frozen=True, slots=True)
class Gone:
    """Removed."""


@dataclass(frozen=True, slots=True)
class Unmade:
    """There is no origin to ask: a thumbnail that the vault has not made yet, or an import that is not whole."""


Plan = FromStore | FromEdge | Revalidate | FromFill | FromOrigin | NotYet | Gone | Unmade


def plan(
    status: Status,
    *,
    edge_fresh_until: int | None,
    filling: bool,
    not_before: int,
    now: int,
    has_older_bytes: bool = False,
    has_origin: bool = True,
) -> Plan:
    """Choose the source. Times in Unix ms; `edge_fresh_until` is None where the edge has no copy.

    `has_older_bytes`: the variant is fetched anew, and its bytes from before are still there to serve meanwhile.
    """
    if status not in LIVE:
        return Gone()
    if status is Status.STORED or has_older_bytes:
        return FromStore()
    if not has_origin:
        return Unmade()
    if edge_fresh_until is not None and now < edge_fresh_until:
        return FromEdge()
    if filling:
        return FromFill()
    if edge_fresh_until is not None:
        return Revalidate()  # even while the origin cools down: a stale copy may be better than none
    if now < not_before:
        return NotYet(not_before)
    return FromOrigin()
