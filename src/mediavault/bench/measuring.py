"""One measurement of one contender: the work of each case, and what the server spent on it."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from mediavault.bench import load, slow_readers, wrk
from mediavault.bench.cases import Case, Plan
from mediavault.bench.checking import check_bodiless, check_bytes, etag
from mediavault.bench.figures import Figures, throughput
from mediavault.bench.load import Target
from mediavault.bench.nginx import Nginx
from mediavault.bench.objects import MB, MIB, content
from mediavault.bench.processes import Child
from mediavault.bench.vault import Vault
from mediavault.errors import VaultError

SLOW_OBJECTS = 4
_HERD_CLIENTS = 50
_COLD_CLIENTS = 16
_SMALL_CONNECTIONS = 32  #: for answers that a server gives in microseconds
_BIG_CONNECTIONS = 8
_RANGES = 48
_WARM_SECONDS = 0.2


@dataclass(frozen=True)
class Constant:
    """The item's peer: a bare ASGI callable on the vault's own server, whose answer never changes."""

    process: Child
    target: Target
    name: str = "constant"


MediaHost = Vault | Nginx
Contender = MediaHost | Constant


@dataclass(frozen=True)
class Bench:
    """What every measurement needs."""

    plan: Plan
    folder: Path
    digests: dict[str, str]  #: sha256 of each group's objects

    def check(self, case: Case, who: Contender) -> None:
        """Raises VaultError unless the contender does what it is about to be measured at, byte for byte."""
        group, work = case.group, case.name
        if isinstance(who, Constant) or work == "item":
            return  # compared with each other when the constant is made
        if not case.is_hot:
            for each in case.groups:
                check_bytes(who.name, who.cold(each, self.plan.cold_count(case) - 1), self.digests[each.name])
        elif work.startswith("ranges"):
            for target in _ranges(who.hot(group)):
                check_bytes(who.name, target, _digest_of_range(case, target))
        elif work == "head" or work.startswith("not-modified"):
            check_bytes(who.name, who.hot(group), self.digests[group.name])
            check_bodiless(who.name, _hot_targets(case, who)[0], group.size_bytes if work == "head" else None)
        else:
            check_bytes(who.name, who.hot(group), self.digests[group.name])

    def warm(self, case: Case, who: Contender) -> None:
        """A short load that is not counted."""
        if case.is_hot and case.name != "slow-readers":
            load.for_a_time(_hot_targets(case, who), _BIG_CONNECTIONS, _WARM_SECONDS)

    def measure(self, case: Case, who: Contender, number: int) -> Figures:
        """Round `number` of a case."""
        if isinstance(who, Constant) or case.needs_wrk:
            return self._with_wrk(who, _hot_targets(case, who)[0])
        if case.name == "slow-readers":
            return self._slow_readers(case, who)
        if case.name.startswith("herd"):
            return self._herd(case, who, number)
        if case.name == "cold-100m":
            target = who.cold(case.group, number)
            return self._timed(who, lambda: load.once_each([target] * _COLD_CLIENTS, _COLD_CLIENTS), in_bytes=True)
        if case.name == "cold-1m":
            first = number * self.plan.cold_objects
            targets = [who.cold(case.group, each) for each in range(first, first + self.plan.cold_objects)]
            return self._timed(who, lambda: load.once_each(targets, _COLD_CLIENTS), in_bytes=False)
        return self._hot(case, who)

    def _hot(self, case: Case, who: MediaHost) -> Figures:
        targets, seconds = _hot_targets(case, who), self.plan.seconds
        in_bytes = case.name != "head"
        connections = _BIG_CONNECTIONS if in_bytes else _SMALL_CONNECTIONS
        return self._timed(who, lambda: load.for_a_time(targets, connections, seconds), in_bytes=in_bytes)

    def _with_wrk(self, who: Contender, target: Target) -> Figures:
        before = who.process.usage().cpu_seconds
        totals = wrk.for_a_time(target, _SMALL_CONNECTIONS, self.plan.seconds, self.folder)
        cpu_seconds = who.process.usage().cpu_seconds - before
        return _throughput(totals.requests, cpu_seconds, totals.microseconds / 1e6)

    def _timed(self, who: Contender, work: Callable[[], load.Outcome], *, in_bytes: bool) -> Figures:
        before = who.process.usage().cpu_seconds
        outcome = work()
        cpu_seconds = who.process.usage().cpu_seconds - before
        amount = outcome.body_bytes / MB if in_bytes else outcome.requests
        return _throughput(amount, cpu_seconds, outcome.seconds)

    def _herd(self, case: Case, who: MediaHost, number: int) -> Figures:
        group = case.group_of(number)
        outcome = load.once_each([who.cold(group, number)] * _HERD_CLIENTS, _HERD_CLIENTS)
        if outcome.body_bytes != _HERD_CLIENTS * group.size_bytes:
            raise VaultError(f"{who.name} gave the herd {outcome.body_bytes} bytes")
        return {
            "first_byte_ms": median(outcome.first_byte_seconds) * 1000,
            "all_done_ms": median(outcome.done_seconds) * 1000,
        }

    def _slow_readers(self, case: Case, who: MediaHost) -> Figures:
        idle = who.process.usage().rss_bytes
        targets = [who.hot(case.group, number) for number in range(SLOW_OBJECTS)]
        plan = self.plan
        peak = slow_readers.peak_memory(
            targets, plan.readers, plan.reader_seconds, lambda: who.process.usage().rss_bytes
        )
        return {"rss_mb": peak / MB, "idle_mb": idle / MB}


def _throughput(amount: float, cpu_seconds: float, wall_seconds: float) -> Figures:
    try:
        return throughput(amount, cpu_seconds, wall_seconds)
    except ValueError as error:
        raise VaultError(str(error)) from None


def _hot_targets(case: Case, who: Contender) -> list[Target]:
    """What is asked for over and over."""
    if isinstance(who, Constant):
        return [who.target]
    if isinstance(who, Vault) and case.name == "item":
        return [who.item_target(case.group, 0)]
    hot = who.hot(case.group)
    if case.name == "head":
        return [replace(hot, method="HEAD")]
    if case.name.startswith("not-modified"):
        return [replace(hot, headers=(("If-None-Match", etag(hot)),), status=304)]
    return _ranges(hot) if case.name.startswith("ranges") else [hot]


def _ranges(hot: Target) -> list[Target]:
    """Parts of 1 MiB all over the object, as a player that seeks asks for them."""
    starts = [(number * 37 % _RANGES) * 2 * MIB + 12_345 for number in range(_RANGES)]
    return [replace(hot, headers=(("Range", f"bytes={at}-{at + MIB - 1}"),), status=206) for at in starts]


def _digest_of_range(case: Case, target: Target) -> str:
    first, _, last = target.headers[0][1].removeprefix("bytes=").partition("-")
    return hashlib.sha256(content(case.group).read(int(first), int(last) + 1)).hexdigest()


def settle() -> None:
    """Let what the last measurement left behind (closed connections) be dealt with before the next begins."""
    time.sleep(0.1)
