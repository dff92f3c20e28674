"""The table of what is measured, with the goals; and how long a run spends on each."""

from dataclasses import dataclass

from mediavault.bench.figures import BY_CLOCK, PER_CORE, Goal
from mediavault.bench.nginx import PACED, UNPACED
from mediavault.bench.objects import GROUPS, Group
from mediavault.errors import InvalidRequest


@dataclass(frozen=True)
class Measure:
    """A metric of a case that becomes a row of the table."""

    metric: str
    title: str
    unit: str
    goal: Goal


@dataclass(frozen=True)
class Case:
    """One kind of work."""

    name: str
    group: Group
    measures: tuple[Measure, ...]
    peer: str = PACED
    load_sleeps: bool = False  #: the load's core is left to sleep, whatever the plan says
    more: tuple[Group, ...] = ()  #: whose objects the rounds take besides, in turn

    @property
    def groups(self) -> tuple[Group, ...]:
        """All whose objects are asked for."""
        return (self.group, *self.more)

    def group_of(self, number: int) -> Group:
        """Whose objects a round takes."""
        return self.groups[number % len(self.groups)]

    @property
    def needs_wrk(self) -> bool:
        """Whether its answers are so small that the generator must be the quickest there is."""
        return self.name in {"hot-32k", "not-modified", "not-modified-asleep", "item"}

    @property
    def is_hot(self) -> bool:
        """Whether its objects must be stored before."""
        return self.group.stored


def _rate(title: str, unit: str, limit: float, metric: str = PER_CORE) -> tuple[Measure, ...]:
    return (Measure(metric, title, unit, Goal(limit)),)


def _unpaced(name: str, group: str, title: str, limit: float) -> Case:
    """The same with a peer that has been given what it cannot choose itself."""
    return Case(f"{name}-unpaced", GROUPS[group], _rate(f"{title}, nginx unpaced too", "MB/s", limit), peer=UNPACED)


def _herd(objects: str) -> tuple[Measure, ...]:
    return (
        Measure("first_byte_ms", f"50 clients, {objects}: first byte", "ms", Goal(0.05, at_least=False)),
        Measure("all_done_ms", f"50 clients, {objects}: all done", "ms", Goal(0.7, at_least=False)),
    )


#: nginx's waiters look twice a second whether the object is there: one size alone would measure where it falls.
_HERD_SIZES = tuple(GROUPS[name] for name in ("herd-22m", "herd-20m", "herd-26m", "herd-24m"))
_MEMORY = (
    Measure("rss_mb", "memory with {readers} slow readers of 100 MB", "MB", Goal(200, relative=False, at_least=False)),
)

CASES = {
    case.name: case
    for case in (
        Case("hot-32k", GROUPS["hot-32k"], _rate("hot 32 KB", "requests/s", 0.35)),
        Case("hot-1m", GROUPS["hot-1m"], _rate("hot 1 MB", "MB/s", 1.0)),
        _unpaced("hot-1m", "hot-1m", "hot 1 MB", 1.0),
        Case("hot-100m", GROUPS["hot-100m"], _rate("hot 100 MB", "MB/s", 0.9)),
        _unpaced("hot-100m", "hot-100m", "hot 100 MB", 0.9),
        Case("ranges", GROUPS["hot-100m"], _rate("1 MB ranges of 100 MB", "MB/s", 1.0)),
        _unpaced("ranges", "hot-100m", "1 MB ranges of 100 MB", 1.0),
        Case("not-modified", GROUPS["hot-1m"], _rate("304, If-None-Match", "requests/s", 0.25)),
        Case(
            "not-modified-asleep",
            GROUPS["hot-1m"],
            _rate("304, the load's core left to sleep", "requests/s", 0.25),
            load_sleeps=True,
        ),
        Case("head", GROUPS["hot-1m"], _rate("HEAD", "requests/s", 0.25)),
        Case("item", GROUPS["item"], _rate("item JSON, 3 variants", "requests/s", 0.55), peer="constant"),
        Case("herd", GROUPS["herd"], _herd("a cold 20 MB object")),
        Case("herd-sizes", GROUPS["herd-18m"], _herd("18 to 26 MB, cold"), more=_HERD_SIZES),
        Case("cold-100m", GROUPS["cold-100m"], _rate("16 clients, a cold 100 MB object", "MB/s", 1.3, BY_CLOCK)),
        Case("cold-1m", GROUPS["cold-1m"], _rate("distinct cold 1 MB", "requests/s", 0.9)),
        Case("slow-readers", GROUPS["hot-100m"], _MEMORY),
    )
}


@dataclass(frozen=True)
class Plan:
    """What a run does."""

    cases: tuple[Case, ...]
    rounds: int = 5
    seconds: float = 2.0  #: of load on hot objects, each time
    cold_objects: int = 200  #: distinct ones, each time
    readers: int = 500
    reader_seconds: float = 8.0
    keep_load_awake: bool = True

    def cold_count(self, case: Case) -> int:
        """How many objects each contender fetches in all rounds; one more is fetched to check its bytes."""
        return self.rounds * (self.cold_objects if case.name == "cold-1m" else 1) + 1


def plan(only: list[str], *, quick: bool, rounds: int | None, keep_load_awake: bool = True) -> Plan:
    """Of what was asked for. Raises InvalidRequest."""
    unknown = [name for name in only if name not in CASES]
    if unknown:
        raise InvalidRequest(f"there is no case {unknown[0]!r}: take {', '.join(CASES)}")
    chosen = tuple(case for name, case in CASES.items() if not only or name in only)
    if quick:
        return Plan(chosen, rounds or 2, 0.5, 80, reader_seconds=3.0, keep_load_awake=keep_load_awake)
    return Plan(chosen, rounds or 5, keep_load_awake=keep_load_awake)
