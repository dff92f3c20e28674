"""A whole run: folders and processes come up, the contenders take turns, and nothing is left behind."""

import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mediavault.bench import machine, nginx, objects, report, vault, wrk
from mediavault.bench.cases import Case, Plan
from mediavault.bench.checking import fetch
from mediavault.bench.figures import ASIDE, Figures, Row
from mediavault.bench.measuring import SLOW_OBJECTS, Bench, Constant, Contender, settle
from mediavault.bench.objects import MB, Group
from mediavault.bench.processes import Cores, child, interruptible, on_core
from mediavault.bench.vault import Vault
from mediavault.bench.waking import kept_awake
from mediavault.errors import VaultError


class Tell(Protocol):
    """Whoever wants to know how it goes."""

    def doing(self, text: str) -> None:
        """What happens now."""

    def done(self, text: str) -> None:
        """A line that is to be kept."""


#: Free disk beyond what the run itself writes: the vault's own floor, and some air.
_AIR_BYTES = 2 << 30
#: What nginx must refuse to who has no right to it.
_DOOR_GROUP = objects.GROUPS["hot-32k"]


@dataclass(frozen=True)
class Report:
    """What a run found."""

    facts: dict[str, str]
    rows: tuple[Row, ...]


def run(plan: Plan, constant_command: Sequence[str], tell: Tell) -> Report:
    """Measure the plan's cases. Raises VaultError; KeyboardInterrupt on SIGINT and SIGTERM, with everything ended.

    `constant_command` starts the item's peer: given a file, it serves its bytes as JSON and prints a ready line with
    `constant`, its URL.
    """
    if not sys.platform.startswith("linux"):
        raise VaultError("bench needs Linux: it pins processes to cores and reads their CPU time from /proc")
    cores = Cores.of(sorted(os.sched_getaffinity(0)))
    programs = _Programs.find(plan)
    facts = machine.facts(cores, nginx=programs.nginx, wrk=programs.wrk)
    with interruptible(), on_core(cores.load), _folder(plan) as folder, ExitStack() as stack:
        _raise_file_limit()
        sides = _Sides(plan, folder, cores, programs, list(constant_command))
        bench = stack.enter_context(sides.running(tell))
        rows = []
        for case in plan.cases:
            is_awake = plan.keep_load_awake and not case.load_sleeps and cores.load != cores.server
            with kept_awake(cores.load, folder) if is_awake else nullcontext():
                rows += _rows(bench, case, sides.of(case), tell)
        tell.doing("tidying up")
    return Report(facts, tuple(rows))


@dataclass(frozen=True)
class _Programs:
    """Where the programs are that the plan needs, and no others."""

    nginx: str | None
    wrk: str | None

    @classmethod
    def find(cls, plan: Plan) -> "_Programs":
        needs_nginx = any(case.peer in {nginx.PACED, nginx.UNPACED} for case in plan.cases)
        needs_wrk = any(case.needs_wrk for case in plan.cases)
        return cls(nginx.find() if needs_nginx else None, wrk.find() if needs_wrk else None)


class _Sides:
    """The processes of a run."""

    def __init__(self, plan: Plan, folder: Path, cores: Cores, programs: _Programs, constant: list[str]) -> None:
        self._plan = plan
        self._folder = folder
        self._cores = cores
        self._programs = programs
        self._constant_command = constant
        self._contenders: dict[str, Contender] = {}

    def of(self, case: Case) -> tuple[Contender, Contender]:
        """The case's peer and the vault."""
        return self._contenders[case.peer], self._contenders[Vault.name]

    @contextmanager
    def running(self, tell: Tell) -> Iterator[Bench]:
        """Start what the plan needs and fill the vault, until the end of the block."""
        with ExitStack() as stack:
            tell.doing("making the objects")
            media = _subfolder(self._folder, "media")
            digests = {group.name: objects.write(group, media) for group in _groups(self._plan)}
            command = [sys.executable, "-m", "mediavault.bench.origin", str(media)]
            origin = stack.enter_context(child("origin", command, core=self._cores.origin, folder=self._folder))
            url = origin.ready()["origin"]
            ours = vault.running(_subfolder(self._folder, "vault"), url, core=self._cores.server)
            self._contenders[Vault.name] = filled = stack.enter_context(ours)
            if self._programs.nginx is not None:
                own = _subfolder(self._folder, "nginx")
                peer = nginx.running(
                    self._programs.nginx, own, media, url, core=self._cores.server, open_files=_open_files()
                )
                for each in stack.enter_context(peer):
                    self._contenders[each.name] = each
                    each.check_doors(_DOOR_GROUP)
            tell.doing("filling the vault")
            _fill(filled, self._plan)
            if any(case.peer == Constant.name for case in self._plan.cases):
                self._contenders[Constant.name] = stack.enter_context(self._constant(filled))
            yield Bench(self._plan, self._folder, digests)

    @contextmanager
    def _constant(self, of: Vault) -> Iterator[Constant]:
        """The bare callable, with the bytes that the vault answers now."""
        item = of.item_target(objects.GROUPS["item"], 0)
        body = self._folder / "item.json"
        body.write_bytes(fetch(item).start)
        command = [*self._constant_command, str(body)]
        with child("constant", command, core=self._cores.server, folder=self._folder) as process:
            port = int(process.ready()["constant"].rpartition(":")[2])
            constant = Constant(process, type(item)("127.0.0.1", port, item.path, headers=item.headers))
            theirs, ours = fetch(constant.target), fetch(item)
            if (theirs.status, theirs.size_bytes) != (ours.status, ours.size_bytes) or ours.status != 200:
                raise VaultError(f"the constant has {theirs.size_bytes} bytes, the item {ours.size_bytes}")
            yield constant


def _groups(plan: Plan) -> set[Group]:
    """Those that the run needs."""
    return {_DOOR_GROUP} | {group for case in plan.cases for group in case.groups}


def _fill(contender: Vault, plan: Plan) -> None:
    """Store what is hot, let pass what will be asked for cold."""
    stored: dict[Group, int] = {}
    for case in plan.cases:
        if case.is_hot:
            count = SLOW_OBJECTS if case.name == "slow-readers" else 1
            stored[case.group] = max(stored.get(case.group, 0), count)
        else:
            for group in case.groups:
                contender.see(group, plan.cold_count(case))
    for group, count in stored.items():
        contender.see(group, count)
        contender.store(group, count)


def _rows(bench: Bench, case: Case, sides: tuple[Contender, Contender], tell: Tell) -> list[Row]:
    """Measure a case: both in turn, round after round."""
    peer, ours = sides
    tell.doing(f"{case.name}: checking and warming")
    for side in sides:
        bench.check(case, side)
        bench.warm(case, side)
    rounds: dict[str, list[Figures]] = {peer.name: [], ours.name: []}
    count = 1 if case.name == "slow-readers" else bench.plan.rounds
    for number in range(count):
        for side in sides if number % 2 == 0 else reversed(sides):
            tell.doing(f"{case.name}: round {number + 1} of {count}, {side.name}")
            settle()
            rounds[side.name].append(bench.measure(case, side, number))
    rows = rows_of(case, bench.plan, rounds[ours.name], rounds[peer.name])
    for row in rows:
        tell.done(report.line(row))
    return rows


def rows_of(case: Case, plan: Plan, ours: Sequence[Figures], theirs: Sequence[Figures]) -> list[Row]:
    """The case's lines of the table."""

    def each(rounds: Sequence[Figures], metric: str | None) -> tuple[float, ...]:
        return () if metric is None else tuple(figures[metric] for figures in rounds)

    return [
        Row(
            case.name,
            measure.title.format(readers=plan.readers),
            measure.unit,
            measure.metric,
            measure.goal,
            case.peer,
            each(ours, measure.metric),
            each(theirs, measure.metric),
            each(ours, ASIDE.get(measure.metric)),
            each(theirs, ASIDE.get(measure.metric)),
        )
        for measure in case.measures
    ]


@contextmanager
def _folder(plan: Plan) -> Iterator[Path]:
    """A fresh folder with room for the run; gone afterwards. Raises VaultError."""
    place = Path(tempfile.gettempdir())
    needed, free = _disk_bytes(plan), shutil.disk_usage(place).free
    if free < needed:
        raise VaultError(
            f"{place} has {free / MB:,.0f} MB free, this run takes {needed / MB:,.0f} MB: set TMPDIR to a larger disk"
        )
    path = Path(tempfile.mkdtemp(prefix="mediavault-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _disk_bytes(plan: Plan) -> int:
    """What the origin has, what both cache, and what the vault stores besides."""
    groups = [(plan.cold_count(case), group) for case in plan.cases if not case.is_hot for group in case.groups]
    cold = sum(count * group.size_bytes for count, group in groups)
    hot = sum(group.size_bytes * len(group.labels) for group in _groups(plan) if group.stored)
    origin = sum(group.size_bytes for group in _groups(plan))
    return origin + 2 * cold + 2 * SLOW_OBJECTS * hot + _AIR_BYTES


def _subfolder(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made


def _open_files() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _raise_file_limit() -> None:
    """As many as we may have, for us and for all we start: 500 readers need more than the usual 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
