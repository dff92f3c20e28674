"""Faults on demand: what is to go wrong, for which requests, how often."""

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What goes wrong with the requests it matches. Faults of one request can be combined in one Fault.

    An answer is replaced if there is a `redirect`, a `body` or a `status` from 300; a lower `status` is written over
    that of the true answer.
    """

    #: Matches requests whose path has this in it; the empty one matches all.
    path: str = ""
    #: How many requests it meets; None: until it is cleared.
    times: Positive | None = None
    #: Waits before the answer begins, in milliseconds.
    latency_ms: Count = 0
    status: Annotated[int, msgspec.Meta(ge=200, le=599)] | None = None
    #: Each response is slowed to this rate.
    bytes_per_second: Positive | None = None
    #: Declares the full length, sends so many bytes of the body, and drops the connection.
    truncate_at: Count | None = None
    #: Sends so many bytes of the body, then nothing until the client leaves or the fault is cleared.
    stall_at: Count | None = None
    #: A type that need not be true; of a `body`, HTML unless given.
    content_type: str | None = None
    body: str | None = None
    #: Sends in chunks of unknown total.
    omit_content_length: bool = False
    headers: dict[str, str] = {}
    #: The Location of a redirect, 302 unless `status` says otherwise.
    redirect: str | None = None
    #: Answers a range request with all of it.
    ignore_range: bool = False
    #: The Retry-After header: seconds, or any text.
    retry_after: int | str | None = None

    def __post_init__(self) -> None:
        # msgspec checks what it decodes; this keeps the same promise for faults made in Python.
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, not {value}")

    @property
    def replaces_answer(self) -> bool:
        """Whether the true answer is not even asked for."""
        return self.redirect is not None or self.body is not None or (self.status or 0) >= 300


_LEAST = {
    "times": 1,
    "latency_ms": 0,
    "status": 200,
    "bytes_per_second": 1,
    "truncate_at": 0,
    "stall_at": 0,
}


class ArmedFault:
    """A fault in force, with the count of requests it has met."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.hits = 0
        self.cleared = False

    @property
    def is_spent(self) -> bool:
        return self.cleared or self.hits == self.fault.times

    def clear(self) -> None:
        """End it, also for requests that are stalled by it now."""
        self.cleared = True


class Faults:
    """The faults in force. A request meets the first that matches it."""

    def __init__(self) -> None:
        self._armed: list[ArmedFault] = []

    def add(self, fault: Fault) -> ArmedFault:
        """Put a fault in force, behind those that are."""
        armed = ArmedFault(fault)
        self._armed.append(armed)
        return armed

    def clear(self) -> None:
        """End all of them, also for requests that are stalled now."""
        for armed in self._armed:
            armed.clear()
        self._armed = []

    def armed(self) -> list[ArmedFault]:
        """Those still to be met."""
        return [armed for armed in self._armed if not armed.is_spent]

    def meet(self, path: str) -> ArmedFault | None:
        """The fault a request for this path meets, counted as met."""
        for armed in self._armed:
            if armed.fault.path in path and not armed.is_spent:
                armed.hits += 1
                return armed
        return None
