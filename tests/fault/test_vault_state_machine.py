"""Any story of a vault keeps every promise: hypothesis tells stories, a model beside the vault judges every step.

A failure prints the shortest story that leads to it, as a program, and a line `@reproduce_failure('…', b'…')`. To play
it again: `MEDIAVAULT_REPLAY='<what stands between the quotes of b>' pytest tests/fault/test_vault_state_machine.py -k
<engine>`. Nothing in a story depends on the wall clock, on chance, or on who is quicker: every step waits until nothing
moves any more.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from fakes.stepping import Ground, new_stage, prepared, seeded_ids, silence
from fakes.telling import long_run, tell
from fakes.vault_story import SHELF, Person
from fakes.vault_verbs import Verbs
from fakes.vault_views import KINDS
from mediavault.domain.times import DAY, HOUR, MINUTE, SECOND
from mediavault.platform.faults import Fault

WHO = st.sampled_from([0, 0, 0, 1])
NAMES = st.sampled_from(sorted(SHELF))
#: Names of variants: `(item, label)`.
VARIANTS = st.sampled_from([("small", "full"), ("small", "thumb"), ("large", "full"), ("film", "full")])
PATCHES = st.sampled_from(
    [
        {"cacheImages": False},
        {"cacheImages": True},
        {"cacheVideos": False},
        {"cacheVideos": True},
        {"imageQualities": ["full"]},
        {"imageQualities": ["thumb", "preview", "full"]},
        {"minAccessCountVault": 0},
        {"minAccessCountVault": 3},
        {"autoCacheVault": False},
        {"autoCacheVault": True},
        {"retentionDays": 2},
        {"retentionDays": 0},
        {"accessExpiryDays": 1},
        {"accessExpiryDays": 0},
        {"storageLimitBytes": 320_000},
        {"storageLimitBytes": 0},
        {"storageLimitPurgeStrategy": "purge_largest"},
        {"storageLimitPurgeStrategy": "block_new"},
    ]
)
FAULTS = st.sampled_from(
    [
        Fault(status=403),
        Fault(status=404, times=1),
        Fault(status=503, times=1),
        Fault(status=503),
        Fault(truncate_at=3_000, times=1),
        Fault(truncate_at=700),
        Fault(body="<html>please sign in</html>"),
        Fault(ignore_range=True),
        Fault(omit_content_length=True),
        Fault(headers={"etag": "", "last-modified": ""}),
        Fault(bytes_per_second=4 << 20, times=2),
    ]
)


_STALLS = st.sampled_from([1_000, 4_000])
_SPANS = st.sampled_from([SECOND, MINUTE + SECOND, 2 * HOUR, DAY, 3 * DAY])
#: What may happen: how often, and with what.
_KINDS_OF_DEEDS: dict[str, tuple[int, tuple[st.SearchStrategy[Any], ...]]] = {
    "view": (16, (WHO, VARIANTS, st.sampled_from(sorted(KINDS)))),
    "view_a_grave": (1, ()),
    "watch": (5, (WHO, VARIANTS, st.integers(1, 3))),
    "flush": (3, ()),
    "observe": (5, (WHO,)),
    "ask_for": (7, (WHO, VARIANTS)),
    "store": (8, ()),
    "delete": (3, (WHO, NAMES)),
    "purge": (1, (WHO,)),
    "restore": (5, (WHO, NAMES)),
    "pin": (3, (WHO, NAMES, st.sampled_from([True, True, False]))),
    "change": (6, (WHO, PATCHES)),
    "list_anew": (2, (WHO, st.sets(NAMES))),
    "follow_list": (5, (WHO, st.sampled_from(["sync", "sync", "add"]))),
    "disconnect": (1, (WHO,)),
    "read": (2, (WHO,)),
    "publish": (5, (WHO, NAMES, st.sampled_from([30_000, 310_000]), st.integers(1, 3), st.booleans())),
    "take_down": (1, (WHO,)),
    "break_origin": (3, (WHO, VARIANTS, FAULTS)),
    "view_that_waits": (5, (WHO, VARIANTS, st.sampled_from(["whole", "whole", "far", "start"]), _STALLS)),
    "store_that_waits": (5, (WHO, VARIANTS, _STALLS)),
    "mend_origin": (5, ()),
    "expire_urls": (2, ()),
    "wait": (6, (_SPANS,)),
    "days_pass": (4, (WHO, NAMES, st.booleans(), st.sampled_from(["retentionDays", "accessExpiryDays"]))),
    "sweep": (4, ()),
    "crash": (4, ()),
    "restart": (2, ()),
}
_NAMES_OF_DEEDS = [name for name, (weight, _) in _KINDS_OF_DEEDS.items() for _ in range(weight)]
DEEDS = st.sampled_from(_NAMES_OF_DEEDS).flatmap(
    lambda name: st.tuples(st.just(name), st.tuples(*_KINDS_OF_DEEDS[name][1]))
)


class Machine(RuleBasedStateMachine):
    """A vault, and all that can happen to it."""

    ground: ClassVar[Ground]
    runner: ClassVar[asyncio.Runner]
    steps: ClassVar[Counter[str]] = Counter()
    happened: ClassVar[Counter[str]] = Counter()

    def run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """One step, a millisecond after the last."""
        self.steps[name] += 1
        self.story.stage.clock.forward(1)
        self.runner.run(work)

    @initialize(stored=st.booleans())
    def begin(self, stored: bool) -> None:
        """Two creators' media, known or stored."""
        self.ids = seeded_ids(7)
        self.ids.__enter__()
        self.story = Verbs(self.runner.run(new_stage(self.ground)))
        for person in self.story.people:
            self.run("connect", self.story.connect(person))
            self.run("observe", self.story.observe(person))
            for variant in self.story.connected(person).variants.values() if stored else ():
                self.run("ask for", self.story.ask_for(variant))
        self.store()

    def teardown(self) -> None:
        if hasattr(self, "story"):
            self.happened.update(self.story.happened)
            self.runner.run(self.story.stage.close())
        if hasattr(self, "ids"):
            self.ids.__exit__(None, None, None)

    def _person(self, who: int) -> Person:
        """The creator, connected."""
        person = self.story.people[who]
        if person.connection is None:
            self.run("connect", self.story.connect(person))
            self.run("observe", self.story.observe(person))
        return person

    def _variant(self, person: Person, which: tuple[str, str]) -> Any:
        """The variant, known, or None where it is not."""
        name, label = which
        return self.story.connected(person).variants.get((str(person.media[name].id), label))

    @rule(deed=DEEDS)
    def happens(self, deed: tuple[str, Any]) -> None:
        """The one rule: of many rules hypothesis leaves most out of most stories, and few would be of any length."""
        name, arguments = deed
        getattr(self, name)(*arguments)

    # -- viewers --

    def view(self, who: int, which: tuple[str, str], kind: str) -> None:
        person = self._person(who)
        if (variant := self._variant(person, which)) is not None:
            self.run("view", self.story.view(person, variant, kind))

    def view_a_grave(self) -> None:
        if self.story.graves:
            self.run("view a grave", self.story.view_grave(self.story.graves[-1]))

    def watch(self, who: int, which: tuple[str, str], times: int) -> None:
        """Some views that are written down together."""
        for _ in range(times):
            self.view(who, which, "whole")
        self.flush()

    def flush(self) -> None:
        self.run("flush", self.story.flush())

    # -- owners --

    def observe(self, who: int) -> None:
        self.run("observe", self.story.observe(self._person(who)))

    def ask_for(self, who: int, which: tuple[str, str]) -> None:
        if (variant := self._variant(self._person(who), which)) is not None:
            self.run("ask for", self.story.ask_for(variant))

    def store(self) -> None:
        self.run("store", self.story.store())

    def delete(self, who: int, name: str) -> None:
        person = self._person(who)
        self.run("delete", self.story.delete(person, str(person.media[name].id)))

    def purge(self, who: int) -> None:
        self.run("purge", self.story.purge(self._person(who)))

    def restore(self, who: int, name: str) -> None:
        person = self._person(who)
        self.run("restore", self.story.restore(person, str(person.media[name].id)))

    def pin(self, who: int, name: str, pinned: bool) -> None:
        person = self._person(who)
        self.run("pin", self.story.pin(person, str(person.media[name].id), pinned=pinned))

    def change(self, who: int, patch: dict[str, Any]) -> None:
        self.run("change", self.story.change(self._person(who), patch))

    def list_anew(self, who: int, names: set[str]) -> None:
        """The creator puts other media into the list."""
        person = self._person(who)
        person.folder.media[:] = [person.media[name] for name in sorted(names & person.upstream)]

    def follow_list(self, who: int, verb: str) -> None:
        self.run(verb, self.story.follow_list(self._person(who), verb))

    def disconnect(self, who: int) -> None:
        self.run("disconnect", self.story.disconnect(self._person(who)))

    def read(self, who: int) -> None:
        self.run("read", self.story.read(self._person(who)))

    # -- the platform --

    def publish(self, who: int, name: str, size: int, seed: int, new_url: bool) -> None:
        person = self._person(who)
        moved_often = "-changed-changed" in person.media[name].renditions["full"].path
        if name in person.upstream and not (new_url and moved_often):
            self.steps["publish"] += 1
            self.story.publish(person, name, size, seed, new_url=new_url)

    def take_down(self, who: int) -> None:
        person = self._person(who)
        if "large" in person.upstream:
            self.steps["take down"] += 1
            self.story.take_down(person, "large")

    def break_origin(self, who: int, which: tuple[str, str], fault: Fault) -> None:
        self.steps["break origin"] += 1
        item = self.story.people[who].media[which[0]]
        self.story.stage.sandbox.faults.add(_aimed(fault, item.renditions[which[1]].path))

    def _stall(self, person: Person, which: tuple[str, str], stall_at: int) -> None:
        """The next answer for it stops in its middle until the origin is mended."""
        path = person.media[which[0]].renditions[which[1]].path
        self.story.stage.stall(Fault(path=path, stall_at=stall_at, times=1))

    def view_that_waits(self, who: int, which: tuple[str, str], kind: str, stall_at: int) -> None:
        self._stall(self._person(who), which, stall_at)
        self.view(who, which, kind)

    def store_that_waits(self, who: int, which: tuple[str, str], stall_at: int) -> None:
        self._stall(self._person(who), which, stall_at)
        self.ask_for(who, which)
        self.store()

    def mend_origin(self) -> None:
        self.run("mend origin", self.story.release())

    def expire_urls(self) -> None:
        self.steps["expire urls"] += 1
        self.story.stage.sandbox.expire_urls()

    # -- time and crashes --

    def wait(self, ms: int) -> None:
        self.steps["wait"] += 1
        self.story.stage.clock.forward(ms)

    def days_pass(self, who: int, name: str, pinned: bool, setting: str) -> None:
        """Media are kept for a time that passes; a pin may be in its way."""
        self.pin(who, name, pinned)
        self.change(who, {setting: 1})
        self.wait(3 * DAY)
        self.sweep()

    def sweep(self) -> None:
        self.run("sweep", self.story.sweep())

    def crash(self) -> None:
        self.run("crash", self.story.crash())

    def restart(self) -> None:
        self.run("restart", self.story.restart())


def _aimed(fault: Fault, path: str) -> Fault:
    values = {name: getattr(fault, name) for name in fault.__struct_fields__}
    return Fault(**(values | {"path": path.rpartition(".")[0]}))


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[type[Machine]]:
    """The machine on its ground, on each engine in turn."""
    server = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    with silence(), asyncio.Runner() as runner:
        standing = prepared(tmp_path, server)
        Machine.ground, Machine.runner = runner.run(standing.__aenter__()), runner
        Machine.steps.clear()
        Machine.happened.clear()
        yield Machine
        runner.run(standing.__aexit__(None, None, None))
        print(f"{sum(Machine.steps.values())} steps: {dict(Machine.steps.most_common())}")
        print(f"what happened: {dict(Machine.happened.most_common())}")


@pytest.mark.slow
@pytest.mark.timeout(1800)  # shrinking a failure to its shortest story takes minutes, and is worth them
def test_any_story_keeps_every_promise(machine: type[Machine]) -> None:
    tell(machine, stories=20, steps=40)


def test_old_bytes_of_what_waits_longer_than_the_undo_window_are_kept_and_are_no_finding(
    machine: type[Machine],
) -> None:
    story = machine()
    try:
        story.begin(stored=True)
        story.delete(0, "small")
        story.observe(0)
        story.ask_for(0, ("small", "full"))
        story.wait(3 * DAY)
        story.sweep()
        story.view(0, ("small", "full"), "whole")
    finally:
        story.teardown()


@pytest.mark.long
@pytest.mark.timeout(0)
def test_any_story_of_many_keeps_every_promise(machine: type[Machine]) -> None:
    tell(machine, stories=long_run(200), steps=40)
