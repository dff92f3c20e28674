"""What was measured, and what is told of it: medians, spreads and ratios. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

#: The metrics of one measurement by name.
Figures = dict[str, float]
#: Work done per second of server CPU, and per second of the clock.
PER_CORE, BY_CLOCK = "per_core", "by_clock"
ASIDE = {PER_CORE: BY_CLOCK, BY_CLOCK: PER_CORE}


@dataclass(frozen=True)
class Spread:
    """A median and the extremes around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Goal:
    """A limit for the vault: a ratio to its peer, or a figure of its own."""

    limit: float
    relative: bool = True
    at_least: bool = True

    def reached(self, value: float) -> bool:
        """Whether a ratio, or a figure, is on the right side."""
        return value >= self.limit if self.at_least else value <= self.limit

    @property
    def text(self) -> str:
        """As in `≥ 0.9 ×`."""
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}{' ×' if self.relative else ''}"


@dataclass(frozen=True)
class Row:
    """One line of the table: a metric of a case, in all rounds of both."""

    case: str
    title: str
    unit: str
    metric: str
    goal: Goal
    peer: str
    vault_rounds: tuple[float, ...]
    peer_rounds: tuple[float, ...]
    #: Work is counted twice, by the server's CPU time and by the clock: here by the one that `metric` is not.
    vault_aside: tuple[float, ...] = ()
    peer_aside: tuple[float, ...] = ()

    @property
    def vault(self) -> Spread:
        return Spread.of(self.vault_rounds)

    @property
    def other(self) -> Spread:
        return Spread.of(self.peer_rounds)

    @property
    def ratio(self) -> Spread:
        """Of each round's pair: what slows the machine for a while slows both."""
        return _ratios(self.vault_rounds, self.peer_rounds)

    @property
    def ratio_aside(self) -> Spread | None:
        return _ratios(self.vault_aside, self.peer_aside) if self.vault_aside else None

    @property
    def is_per_core(self) -> bool:
        """Whether the goal is about a second of server CPU."""
        return self.metric == PER_CORE

    @property
    def reached(self) -> bool:
        return self.goal.reached(self.ratio.median if self.goal.relative else self.vault.median)


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    return Spread.of([mine / other for mine, other in zip(ours, theirs, strict=True)])


def throughput(amount: float, cpu_seconds: float, wall_seconds: float) -> Figures:
    """Work done per second of server CPU and per second of the clock. Raises ValueError for no time at all."""
    if cpu_seconds <= 0 or wall_seconds <= 0:
        raise ValueError("too little was done to be measured: give it more time")
    return {PER_CORE: amount / cpu_seconds, BY_CLOCK: amount / wall_seconds}
