"""What one caller may take of the API: rates and requests at once, per key, per connection and per client address.

Everything is counted in this process's memory, in bounded tables; nothing waits. What is too much is answered with 429
before anything is looked up. A `Visit` is one request's account; it lies in the request's scope.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Any

from mediavault.api.answering import answer_headers
from mediavault.domain.client_address import TrustedProxies, name_of
from mediavault.domain.times import SECOND, Now
from mediavault.domain.token_bucket import Buckets, Rate
from mediavault.errors import TooManyRequests
from mediavault.vault.authorising import Principal

#: Where a request's visit lies in its scope.
VISIT = "mediavault.visit"
#: No connection has a longer id: what is longer names none, and is not remembered.
_LONGEST_CONNECTION_ID = 64
#: Of every body, what is not counted: small bodies never wait for large ones.
_FREE_BODY_BYTES = 64 * 1024
#: A bucket is told of instead of another one where so much more of it is taken, as a share.
_WORTH_TELLING = 0.01
#: What is whole but for a float's last digits is whole.
_NEARLY = 1e-3
#: The share of all bodies in memory that one key may have.
_KEYS_SHARE_OF_BODIES = 4


@dataclass(frozen=True)
class LimitConfig:
    """The limits of the API; 0 is none."""

    key_per_minute: int = 1_200_000  #: requests with one key
    connection_per_minute: int = 1_200_000  #: requests about one connection
    address_per_minute: int = 2_400_000  #: requests from one client address, with whatever key
    guesses_per_minute: int = 600  #: keys from one client address that were not seen alive before: look-ups
    key_at_once: int = 512  #: requests under way with one key
    connection_at_once: int = 256  #: requests under way about one connection
    bodies_bytes: int = 256 << 20  #: request bodies in memory at once, of all callers
    trusted: TrustedProxies = field(default_factory=TrustedProxies)


class _Limit:
    """A rate, and what callers are told of it."""

    def __init__(self, name: str, per_minute: int) -> None:
        self.name = name
        self.buckets = Buckets(Rate(per_minute))
        self.seconds = self.buckets.rate.seconds
        self._each = self.buckets.rate.each_seconds
        self._most = (b"x-ratelimit-limit", b"%d" % per_minute)
        self._per_minute = per_minute
        self._reset_at = 0
        self._reset = (b"x-ratelimit-reset", b"0")  #: made anew once a second

    def headers(self, full_in: float, seconds_now: float) -> list[tuple[bytes, bytes]]:
        """X-RateLimit-*: requests a minute, those left, and when all are there again (Unix seconds)."""
        reset_at = int(seconds_now + full_in) + 1
        if reset_at != self._reset_at:
            self._reset_at, self._reset = reset_at, (b"x-ratelimit-reset", b"%d" % reset_at)
        remaining = max(0, self._per_minute - ceil(full_in / self._each - _NEARLY))
        return [self._most, (b"x-ratelimit-remaining", b"%d" % remaining), self._reset]


class _Seats:
    """How many requests of one kind are under way, by who they are counted under."""

    def __init__(self, name: str, most: int) -> None:
        self.name = name
        self._most = most
        self._taken: Counter[object] = Counter()

    def __len__(self) -> int:
        return len(self._taken)

    def taken(self, key: object) -> Callable[[], None]:
        """Take one; what gives it back. Raises TooManyRequests."""
        if self._taken[key] >= self._most:
            raise TooManyRequests(f"Too many requests at once: {self._most} {self.name} are under way", retry_after=1)
        self._taken[key] += 1
        return partial(_less, self._taken, key, 1)


class Limits:
    """The limits of this process."""

    def __init__(self, config: LimitConfig, now: Now, clock: Callable[[], float] = time.monotonic) -> None:
        """`now` dates what callers are told; `clock` never goes back."""
        self.config = config
        self.now = now
        self.clock = clock
        self.keys = _limit("with this key", config.key_per_minute)
        self.connections = _limit("about this connection", config.connection_per_minute)
        self.addresses = _limit("from this address", config.address_per_minute)
        self.guesses = _limit("with unknown keys from this address", config.guesses_per_minute)
        self.key_seats = _seats("with this key", config.key_at_once)
        self.connection_seats = _seats("about this connection", config.connection_at_once)
        self.bodies: Counter[object] = Counter()  #: bytes in memory, by key
        self._bodies_bytes = 0

    def visit(self, scope: Any, *, seated: bool) -> "Visit":
        """A request begins; it must `end`. Raises TooManyRequests for an address that asks too often.

        `seated`: it counts among those under way; what is answered without waiting need not.
        """
        client = scope["client"]
        peer = client[0] if client else ""
        trusted = self.config.trusted
        if trusted.networks:
            address = trusted.client(peer, (value for name, value in scope["headers"] if name == b"x-forwarded-for"))
        else:
            address = name_of(peer)
        now = self.clock()
        visit = Visit(self, address, now, answer_headers(scope), [] if seated else None)
        scope[VISIT] = visit
        if self.addresses is not None and address:
            full_in = self.addresses.buckets.take(address, now)
            if full_in < 0:
                visit.refuse(self.addresses, full_in)
        return visit

    def hold_body(self, owner: str, counted: int) -> None:
        """So many bytes more of a body. Raises TooManyRequests."""
        most = self.config.bodies_bytes
        if self._bodies_bytes + counted > most or self.bodies[owner] + counted > most // _KEYS_SHARE_OF_BODIES:
            raise TooManyRequests("Too many large request bodies at once", retry_after=1)
        self._bodies_bytes += counted
        self.bodies[owner] += counted

    def let_go_body(self, owner: str, counted: int) -> None:
        """They are no longer in memory."""
        self._bodies_bytes -= counted
        _less(self.bodies, owner, counted)


class Visit:
    """One request's account."""

    _owner: Principal | None = None
    _told_at = -1
    _used = 0.0  #: of the emptiest bucket so far, the share that is taken

    def __init__(
        self,
        limits: Limits,
        address: str,
        began_at: float,
        headers: list[tuple[bytes, bytes]],
        held: list[Callable[[], None]] | None,
    ) -> None:
        self._limits = limits
        self._address = address
        self._began_at = began_at  #: of the clock of the rates
        self._headers = headers
        self._held = held  #: what gives back the seats and bytes it has; None: it takes no seats

    def guess(self) -> None:
        """A key that was never seen alive is about to be looked up. Raises TooManyRequests."""
        guesses = self._limits.guesses
        if guesses is not None and self._address:
            full_in = guesses.buckets.take(self._address, self._began_at)
            if full_in < 0:
                self.refuse(guesses, full_in)

    def guessed_right(self) -> None:
        """It is a key."""
        guesses = self._limits.guesses
        if guesses is not None and self._address:
            guesses.buckets.give_back(self._address, self._began_at)

    def authorised(self, caller: Principal) -> None:
        """The key is a key. Raises TooManyRequests. A request is counted once, however often its key is checked."""
        if self._owner is not None:
            return
        self._owner = caller
        limits = self._limits
        if limits.keys is not None:
            self._take(limits.keys, caller.key_id)
        if self._held is not None and limits.key_seats is not None:
            self._held.append(limits.key_seats.taken(caller.key_id))

    def about(self, connection_id: str) -> None:
        """The connection that is asked about, unchecked; it counts under the key's organisation alone.

        Raises TooManyRequests.
        """
        caller = self._owner
        if caller is None or len(connection_id) > _LONGEST_CONNECTION_ID:
            return
        limits = self._limits
        key = (caller.org_id, connection_id)
        if limits.connections is not None:
            self._take(limits.connections, key)
        if self._held is not None and limits.connection_seats is not None:
            self._held.append(limits.connection_seats.taken(key))

    def hold(self, held: int, more: int) -> None:
        """A body of which `held` bytes are in memory grows by `more`. Raises TooManyRequests."""
        limits, counted = self._limits, min(more, held + more - _FREE_BODY_BYTES)
        if counted <= 0 or not limits.config.bodies_bytes:
            return
        owner = self._owner.key_id if self._owner is not None else self._address
        limits.hold_body(owner, counted)
        if self._held is not None:
            self._held.append(partial(limits.let_go_body, owner, counted))

    def end(self) -> None:
        """The request is over, or what follows has limits of its own."""
        if self._held:
            for give_back in self._held:
                give_back()
            self._held.clear()

    def refuse(self, limit: _Limit, full_in: float) -> None:
        """Raises TooManyRequests; `full_in` is what the bucket said."""
        self._tell(limit, limit.seconds)
        raise TooManyRequests(f"Too many requests {limit.name}", retry_after=ceil(-full_in))

    def _take(self, limit: _Limit, key: object) -> None:
        full_in = limit.buckets.take(key, self._began_at)
        if full_in < 0:
            self.refuse(limit, full_in)
        used = full_in / limit.seconds
        if self._told_at < 0 or used > self._used + _WORTH_TELLING:
            self._used = used
            self._tell(limit, full_in)

    def _tell(self, limit: _Limit, full_in: float) -> None:
        """The caller hears of the emptiest bucket."""
        told = limit.headers(full_in, self._limits.now() / SECOND)
        at, headers = self._told_at, self._headers
        if at < 0:
            self._told_at = len(headers)
            headers += told
        else:
            headers[at : at + len(told)] = told


def _less(counted: Counter[object], key: object, by: int) -> None:
    """Nothing is kept of what has come to 0."""
    counted[key] -= by
    if counted[key] <= 0:
        del counted[key]


def _limit(name: str, per_minute: int) -> _Limit | None:
    return _Limit(name, per_minute) if per_minute else None


def _seats(name: str, most: int) -> _Seats | None:
    return _Seats(name, most) if most else None
