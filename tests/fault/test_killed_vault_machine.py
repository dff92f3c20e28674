"""Stories of a vault in a real process, killed with -9 at will in the middle of what it does, on each engine.

Its moments are the machine's own, so a story that fails may pass when it is told again; what it found does not depend
on luck: no promise allows it. Replay as in `test_vault_state_machine.py`.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from fakes import postgres
from fakes.killed_story import LARGE, KilledStory
from fakes.running import serving
from fakes.telling import long_run, tell
from mediavault.platform.application import application
from mediavault.platform.faults import Fault
from mediavault.platform.sandbox import Sandbox

NAMES = st.sampled_from(["small", "middle", "large"])
VERBS = st.sampled_from(["ask_for", "delete", "restore", "view"])


@dataclass
class Place:
    """Where stories are told."""

    folder: Path
    server: str | None
    http: aiohttp.ClientSession
    stories: int = 0


class KilledMachine(RuleBasedStateMachine):
    """A process, and how often it dies."""

    place: ClassVar[Place]
    runner: ClassVar[asyncio.Runner]
    steps: ClassVar[Counter[str]] = Counter()

    def run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """One step, and a look at what is shown afterwards."""
        self.steps[name] += 1
        self.runner.run(work)
        self.runner.run(self.story.check())

    @initialize()
    def begin(self) -> None:
        self.runner.run(self._begin())

    async def _begin(self) -> None:
        place, sandbox = self.place, Sandbox()
        place.stories += 1
        folder = place.folder / f"story-{place.stories}"
        folder.mkdir()
        self.database = await postgres.create_database(place.server) if place.server else None
        self.platform = serving(application(sandbox))
        platform_url = await self.platform.__aenter__()
        self.story = KilledStory(folder, sandbox, platform_url, place.http, self.database)
        await self.story.begin()

    def teardown(self) -> None:
        if hasattr(self, "story"):
            self.runner.run(self._end())

    async def _end(self) -> None:
        try:
            self.story.sandbox.faults.clear()
            await self.story.end()
        finally:
            await self.story.close()
            await self.platform.__aexit__(None, None, None)
            if self.place.server and self.database:
                await postgres.drop_database(self.place.server, self.database)

    @rule(name=NAMES, verb=VERBS)
    def act(self, name: str, verb: str) -> None:
        self.run(verb, getattr(self.story, verb)(name))

    @rule(name=NAMES)
    def look_at_a_part(self, name: str) -> None:
        self.run("part", self.story.view(name, Range="bytes=5000-9999"))

    @rule()
    def observe(self) -> None:
        self.run("observe", self.story.observe())

    @rule(name=NAMES, size=st.sampled_from([20_000, 200_000, LARGE]), seed=st.integers(1, 3))
    def publish(self, name: str, size: int, seed: int) -> None:
        self.steps["publish"] += 1
        self.story.publish(name, size, seed)

    @rule(rate=st.sampled_from([1 << 20, 4 << 20]))
    def slow_down(self, rate: int) -> None:
        """The next answers take their time, so that a kill meets them in their middle."""
        self.steps["slow down"] += 1
        self.story.sandbox.faults.clear()
        self.story.sandbox.faults.add(Fault(path="/cdn/", bytes_per_second=rate, times=4))

    @rule(acts=st.lists(st.tuples(NAMES, VERBS), min_size=1, max_size=4))
    def kill(self, acts: list[tuple[str, str]]) -> None:
        """kill -9 while all this is under way."""
        names = {name: verb for name, verb in acts}  # noqa: C416  # one verb an item: the model knows no order of two
        works = [getattr(self.story, verb)(name) for name, verb in names.items()]
        self.run("kill", self.story.kill(*works))

    @rule()
    def rest(self) -> None:
        self.run("rest", self.story.rest())


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[type[KilledMachine]]:
    """The machine on each engine in turn."""
    server = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    with asyncio.Runner() as runner:

        async def session() -> aiohttp.ClientSession:
            return aiohttp.ClientSession()

        http = runner.run(session())
        KilledMachine.place, KilledMachine.runner = Place(tmp_path, server, http), runner
        KilledMachine.steps.clear()
        yield KilledMachine
        runner.run(http.close())
        print(f"{sum(KilledMachine.steps.values())} steps: {dict(KilledMachine.steps.most_common())}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_process_that_is_killed_again_and_again_keeps_every_promise(machine: type[KilledMachine]) -> None:
    tell(machine, stories=4, steps=12)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_many_processes_that_are_killed_again_and_again_keep_every_promise(machine: type[KilledMachine]) -> None:
    tell(machine, stories=long_run(20), steps=20)
