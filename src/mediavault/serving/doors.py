"""Who may connect: so many connections for one client address, and so many in all, on every port together.

What is over that is closed in the moment it is accepted, before a byte of it is read or anything is kept for it.
"""

import asyncio
import resource
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mediavault.domain.client_address import TrustedProxies, name_of
from mediavault.serving.congestion import pace_remote
from mediavault.telemetry import Events, logger

#: Descriptors that a viewer's connection takes: its socket, the copy that sendfile uses, the file.
_DESCRIPTORS_EACH = 3
#: Descriptors for all else: the database, origins, stores.
_DESCRIPTORS_KEPT = 256
#: A flood is one line in so many seconds.
_LOG_EVERY_SECONDS = 10


@dataclass(frozen=True)
class DoorConfig:
    """How many connections are held open; 0 is as many as the file limit lets us have."""

    most: int = 20_000  #: of all clients, and never more than the file limit has descriptors for
    most_per_address: int = 4_000
    trusted: TrustedProxies = field(default_factory=TrustedProxies)  #: their connections are their clients'


class Doors:
    """Counts the connections of this process."""

    def __init__(self, config: DoorConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._most = _possible(config.most)
        self._inside: Counter[str] = Counter()
        self._all = 0
        self._refused: Counter[str] = Counter()
        self._told_at = -float(_LOG_EVERY_SECONDS)

    def __len__(self) -> int:
        """How many are open."""
        return self._all

    def enter(self, peer: str) -> str | None:
        """The name that a new connection is counted under; None where it is one too many."""
        name = "" if self._config.trusted.trusts(peer) else name_of(peer)
        if self._all >= self._most:
            self._refuse("all")
            return None
        if name and 0 < self._config.most_per_address <= self._inside[name]:
            self._refuse(name)
            return None
        self._all += 1
        self._inside[name] += 1
        return name

    def leave(self, name: str) -> None:
        """A connection is gone."""
        self._all -= 1
        self._inside[name] -= 1
        if not self._inside[name]:
            del self._inside[name]

    def _refuse(self, name: str) -> None:
        self._refused[name] += 1
        now = self._clock()
        if now - self._told_at >= _LOG_EVERY_SECONDS:
            self._told_at = now
            most_from = [address for address, _ in self._refused.most_common(3)]
            logger().warning(
                Events.CONNECTIONS_REFUSED, refused=self._refused.total(), most_from=most_from, open=self._all
            )
            self._refused.clear()
        elif len(self._refused) > 1_000:
            self._refused = Counter(dict(self._refused.most_common(100)))


class Guarded(asyncio.Protocol):
    """Beside a protocol: lets a connection through the doors, or closes it unread."""

    def __init__(self, *arguments: Any, doors: Doors, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._doors = doors
        self._name: str | None = None  #: None: refused

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accepted by the kernel; now by us."""
        peer = transport.get_extra_info("peername")
        self._name = self._doors.enter(peer[0] if isinstance(peer, tuple) else "")
        if self._name is None:
            transport.abort()  # type: ignore[attr-defined]  # a stream's has it
        else:
            pace_remote(transport)
            super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        if self._name is not None:
            self._doors.leave(self._name)
            super().connection_lost(exc)


def _possible(most: int) -> int:
    """What is wanted, as far as there are descriptors for it."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    room = max(64, (files - _DESCRIPTORS_KEPT) // _DESCRIPTORS_EACH) if files != resource.RLIM_INFINITY else 1 << 30
    return min(most, room) if most else room
