"""The life of a variant. Nothing else in the code base decides a status.

One row an event: event, from, to. The SQL that moves a variant, the CHECK
constraint, the API's enum and the diagram in the documentation derive from
this module or are tested against it.
"""

from dataclasses import dataclass
from enum import StrEnum

from mediavault.errors import IllegalTransition


class Status(StrEnum):
    """Where a variant stands. The values are the API's."""

    EDGE_ONLY = "edge_only"  #: known; bytes at the origin, perhaps in the edge cache
    PENDING = "pending"  #: waiting for a storer
    STORING = "storing"  #: a storer holds a lease on it
    STORED = "stored"  #: durable, digest verified
    REMOVED = "removed"  #: not served; its bytes are kept for the undo window, then deleted by a sweep


class Event(StrEnum):
    """What can happen to a variant."""

    QUEUED = "queued"  #: policy or a person wants it stored
    CLAIMED = "claimed"  #: a storer took a lease
    STORED = "stored"  #: the blob is durable
    RELEASED = "released"  #: the lease ran out, or the failure may pass
    GIVEN_UP = "given_up"  #: the failure will not pass
    UNQUEUED = "unqueued"  #: policy no longer wants it
    DAMAGED = "damaged"  #: the stored bytes were found bad
    REMOVED = "removed"  #: deleted, purged, expired, or over the limit
    RESTORED = "restored"  #: taken back inside the undo window
    SEEN_AGAIN = "seen_again"  #: observed at the origin after removal


@dataclass(frozen=True)
class Transition:
    """One event: the statuses it may start from, and the one it ends in."""

    sources: frozenset[Status]
    target: Status


def _from(*sources: Status, to: Status) -> Transition:
    return Transition(frozenset(sources), to)


#: The status of a variant that was just observed.
INITIAL = Status.EDGE_ONLY

TRANSITIONS: dict[Event, Transition] = {
    Event.QUEUED: _from(Status.EDGE_ONLY, to=Status.PENDING),
    Event.CLAIMED: _from(Status.PENDING, to=Status.STORING),
    Event.STORED: _from(Status.STORING, to=Status.STORED),
    Event.RELEASED: _from(Status.STORING, to=Status.PENDING),
    Event.GIVEN_UP: _from(Status.STORING, to=Status.EDGE_ONLY),
    Event.UNQUEUED: _from(Status.PENDING, Status.STORING, to=Status.EDGE_ONLY),
    Event.DAMAGED: _from(Status.STORED, to=Status.PENDING),
    Event.REMOVED: _from(Status.EDGE_ONLY, Status.PENDING, Status.STORING, Status.STORED, to=Status.REMOVED),
    Event.RESTORED: _from(Status.REMOVED, to=Status.STORED),
    Event.SEEN_AGAIN: _from(Status.REMOVED, to=Status.EDGE_ONLY),
}

#: Events only the holder of the lease may report: they carry its fence.
BY_LEASEHOLDER = frozenset({Event.STORED, Event.RELEASED, Event.GIVEN_UP})

#: Statuses in which media are served and listed.
LIVE = frozenset(Status) - {Status.REMOVED}


def advance(status: Status, event: Event) -> Status:
    """Return the status after `event`, or raise IllegalTransition."""
    transition = TRANSITIONS[event]
    if status not in transition.sources:
        raise IllegalTransition(f"a variant that is {status} cannot be {event}")
    return transition.target
