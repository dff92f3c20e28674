"""Turns at the origins: how many fetches of media run at once and begin per second, per host and per connection.

A host's seats are given out in turn to the connections that wait for it, viewers before background work: a storer's
fetch has a seat only where no viewer who waits could use it, and never the last ones. A connection whose own seats are
taken holds up nobody else. Whoever would wait too long, or finds too long a queue, is told to come again.

Nobody who holds a turn waits for another one, so turns cannot deadlock.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mediavault.errors import ConfigError, OriginBusy
from mediavault.origin.addresses import check_url
from mediavault.origin.pacing import Bucket
from mediavault.vault.fills.traffic import Traffic


@dataclass(frozen=True)
class TurnConfig:
    """How hard origins may be asked for media."""

    host_at_once: int = 64  #: fetches under way from one host (name and port)
    connection_at_once: int = 32  #: ... and for one connection, from all hosts
    background_at_once: int = 16  #: of a host's, those that no viewer waits for
    host_per_second: float = 500  #: fetches begun from one host; 0 is no limit
    connection_per_second: float = 250  #: ... and for one connection; 0 is no limit
    burst: int = 500  #: fetches that may begin at once after a pause, whatever the rates
    most_waiting: int = 1000  #: for one host, viewers' and background work's each; one more is refused
    longest_wait_seconds: float = 20
    connection_bytes_per_second: int = 0  #: taken for one connection by all its fills; 0 is no limit

    def __post_init__(self) -> None:
        least = min(self.host_at_once, self.connection_at_once, self.background_at_once, self.burst)
        if least < 1 or min(self.host_per_second, self.connection_per_second, self.most_waiting) < 0:
            raise ConfigError("fetches at once and the burst must be 1 or more, rates and the queue 0 or more")


class Urgency:
    """Whether a viewer waits for what is to be fetched. It only ever rises."""

    def __init__(self, *, urgent: bool) -> None:
        self.urgent = urgent
        self._waiting: set[_Ticket] = set()

    def hasten(self) -> None:
        """A viewer has come: what waits for a turn in the background joins the viewers' queue."""
        if self.urgent:
            return
        self.urgent = True
        for ticket in list(self._waiting):
            ticket.turns.promote(ticket)

    def waits(self, ticket: "_Ticket") -> None:
        """A wish that is to be told."""
        self._waiting.add(ticket)

    def is_done(self, ticket: "_Ticket") -> None:
        """It has its turn, or wants none any more."""
        self._waiting.discard(ticket)


class _Ticket:
    """One wish for a turn."""

    def __init__(self, turns: "Turns", host: "_Host", connection: "_Connection", *, urgent: bool) -> None:
        self.turns = turns
        self.host = host
        self.connection = connection
        self.urgent = urgent
        self.seated = False
        self.called: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class _Queue:
    """Wishes in turn by connection, in order within each."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[_Ticket]] = OrderedDict()
        self.length = 0

    def heads(self) -> list[_Ticket]:
        """The first of every connection; whose turn came last is last."""
        return [line[0] for line in self._lines.values()]

    def put(self, ticket: _Ticket) -> None:
        self._lines.setdefault(ticket.connection.id, deque()).append(ticket)
        self.length += 1

    def take(self, ticket: _Ticket, *, served: bool) -> None:
        """Take a wish out; `served`: its connection is behind the others now."""
        line = self._lines[ticket.connection.id]
        line.remove(ticket)
        self.length -= 1
        if not line:
            del self._lines[ticket.connection.id]
        elif served:
            self._lines.move_to_end(ticket.connection.id)

    def has(self, connection_id: str) -> bool:
        return connection_id in self._lines


class _Host:
    """An origin's seats and queues."""

    def __init__(self, config: TurnConfig) -> None:
        self.bucket = Bucket(config.host_per_second, config.burst)
        self.running = 0
        self.in_background = 0
        self.viewers, self.background = _Queue(), _Queue()
        self.timer: asyncio.TimerHandle | None = None

    def queue_of(self, ticket: _Ticket) -> _Queue:
        return self.viewers if ticket.urgent else self.background

    def has(self, connection_id: str) -> bool:
        return self.viewers.has(connection_id) or self.background.has(connection_id)

    @property
    def waiting(self) -> int:
        return self.viewers.length + self.background.length

    @property
    def idle(self) -> bool:
        return self.running == self.waiting == 0


class _Connection:
    """A connection's seats."""

    def __init__(self, connection_id: str, config: TurnConfig) -> None:
        self.id = connection_id
        self.bucket = Bucket(config.connection_per_second, config.burst)
        self.users = 0  #: wishes and turns
        self.running = 0


class Turns:
    """Who may fetch now. All of it on one event loop."""

    _MOST_REMEMBERED = 1_000

    def __init__(self, config: TurnConfig) -> None:
        self._config = config
        self.traffic = Traffic(config.connection_bytes_per_second)  #: of those who have their turn
        self._hosts: dict[str, _Host] = {}
        self._connections: dict[str, _Connection] = {}

    @asynccontextmanager
    async def turn(self, url: str, connection_id: str, urgency: Urgency) -> AsyncIterator[None]:
        """Wait for a turn at the URL's host and hold it. Raises OriginBusy where that takes, or would take, too long.

        Whoever holds one must not ask for another.
        """
        ticket = self._ticket(url, connection_id, urgency)
        try:
            await self._called(ticket, urgency)
            yield
        finally:
            urgency.is_done(ticket)
            self._leave(ticket)

    def waiting(self, url: str) -> tuple[int, int]:
        """How many wait for the URL's host: viewers, and background work."""
        host = self._hosts.get(check_url(url))
        return (0, 0) if host is None else (host.viewers.length, host.background.length)

    def promote(self, ticket: _Ticket) -> None:
        """Let a wish of the background join the viewers'. They may be one too many for a moment."""
        if ticket.seated or ticket.urgent or ticket.called.done():
            return
        ticket.host.background.take(ticket, served=False)
        ticket.urgent = True
        ticket.host.viewers.put(ticket)
        self._pump(ticket.host)

    async def _called(self, ticket: _Ticket, urgency: Urgency) -> None:
        if ticket.seated:
            return
        urgency.waits(ticket)
        try:
            async with asyncio.timeout(self._config.longest_wait_seconds):
                await ticket.called
        except TimeoutError:
            raise OriginBusy from None

    def _ticket(self, url: str, connection_id: str, urgency: Urgency) -> _Ticket:
        self._forget_idle_ones()
        name = check_url(url)
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host(self._config)
        connection = self._connections.get(connection_id)
        if connection is None:
            connection = self._connections[connection_id] = _Connection(connection_id, self._config)
        ticket = _Ticket(self, host, connection, urgent=urgency.urgent)
        queue = host.queue_of(ticket)
        queue.put(ticket)
        self._pump(host)
        if not ticket.seated and queue.length > self._config.most_waiting:
            queue.take(ticket, served=False)
            raise OriginBusy
        connection.users += 1
        return ticket

    def _leave(self, ticket: _Ticket) -> None:
        """Give the seat to whoever is next, or the place in the queue to nobody."""
        ticket.connection.users -= 1
        if not ticket.seated:
            ticket.host.queue_of(ticket).take(ticket, served=False)
            ticket.called.cancel()
            return
        ticket.seated = False
        ticket.connection.running -= 1
        ticket.host.running -= 1
        ticket.host.in_background -= not ticket.urgent
        self._pump(ticket.host)
        if ticket.connection.users == ticket.connection.running:
            return
        for host in list(self._hosts.values()):  # the connection has a seat again, wherever it wants it
            if host is not ticket.host and host.has(ticket.connection.id):
                self._pump(host)

    def _pump(self, host: _Host) -> None:
        """Call whoever may go now, and come again when the next one may."""
        if host.timer is not None:
            host.timer.cancel()
            host.timer = None
        if not host.waiting:
            return
        now = _time()  # one look for all: who is too early at one must not be on time, and uncalled, at the next
        while (ticket := self._next(host, now)) is not None:
            self._seat(ticket, now)
        wait = self._wait_of(host, now)
        if wait > 0:
            host.timer = asyncio.get_running_loop().call_later(wait, self._pump, host)

    def _next(self, host: _Host, now: float) -> _Ticket | None:
        """Who may go now: a viewer if there is one who may, else background work."""
        if host.running >= self._config.host_at_once or host.bucket.ready_in(now) > 0:
            return None
        for ticket in self._candidates(host):
            if ticket.connection.bucket.ready_in(now) == 0:
                return ticket
        return None

    def _candidates(self, host: _Host) -> Iterator[_Ticket]:
        """Who would have a seat, the rates aside."""
        queues = [host.viewers]
        if host.in_background < self._config.background_at_once:
            queues.append(host.background)
        for queue in queues:
            for ticket in queue.heads():
                if ticket.connection.running < self._config.connection_at_once:
                    yield ticket

    def _wait_of(self, host: _Host, now: float) -> float:
        """The seconds until the rates let somebody go for whom there is a seat; 0 where it is not them."""
        if host.running >= self._config.host_at_once:
            return 0
        waits = [ticket.connection.bucket.ready_in(now) for ticket in self._candidates(host)]
        return max(min(waits), host.bucket.ready_in(now)) if waits else 0

    def _seat(self, ticket: _Ticket, now: float) -> None:
        host, connection = ticket.host, ticket.connection
        host.queue_of(ticket).take(ticket, served=True)
        ticket.seated = True
        host.running += 1
        connection.running += 1
        host.in_background += not ticket.urgent
        host.bucket.take(now)
        connection.bucket.take(now)
        if not ticket.called.done():
            ticket.called.set_result(None)

    def _forget_idle_ones(self) -> None:
        """Names come from upstreams: what is remembered of them stays bounded."""
        if len(self._hosts) > self._MOST_REMEMBERED:
            self._hosts = {name: host for name, host in self._hosts.items() if not host.idle}
        if len(self._connections) > self._MOST_REMEMBERED:
            self._connections = {key: each for key, each in self._connections.items() if each.users}


def _time() -> float:
    return asyncio.get_running_loop().time()
