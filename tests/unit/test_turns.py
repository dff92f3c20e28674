"""Turns at the origins: caps, rates, viewers first, fairness, and that nobody waits for ever."""

import asyncio
import itertools
import random
from collections import Counter

import pytest

from mediavault.errors import ConfigError, OriginBusy
from mediavault.origin.pacing import Bucket
from mediavault.vault.fills import turns
from mediavault.vault.fills.turns import TurnConfig, Turns, Urgency

CDN, OTHER = "https://cdn.test/a?sig=1", "https://other.test:8443/b"
UNHURRIED = {"host_per_second": 0.0, "connection_per_second": 0.0, "longest_wait_seconds": 30.0}


class Fetches:
    """Fetches that hold their turn until they are let go; who holds one, and in which order they began."""

    def __init__(self, **config) -> None:
        self.turns = Turns(TurnConfig(**(UNHURRIED | config)))
        self.begun: list[str] = []
        self.running: Counter[str] = Counter()
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, name: str, *, url: str = CDN, connection: str = "c1", urgent: bool = True) -> Urgency:
        """Ask for a turn; who can have it has it when this returns."""
        urgency, self._ends[name] = Urgency(urgent=urgent), asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._fetch(name, url, connection, urgency))
        await self.settle()
        return urgency

    async def _fetch(self, name: str, url: str, connection: str, urgency: Urgency) -> None:
        async with self.turns.turn(url, connection, urgency):
            self.begun.append(name)
            self.running[name] += 1
            try:
                await self._ends[name].wait()
            finally:
                del self.running[name]

    async def end(self, name: str) -> None:
        """Let one go, and whoever follows begin."""
        self._ends[name].set()
        await self.tasks[name]
        await self.settle()

    async def cancel(self, name: str) -> None:
        """Its leader is cancelled, wherever it is."""
        self.tasks[name].cancel()
        await asyncio.gather(self.tasks[name], return_exceptions=True)
        await self.settle()

    async def settle(self) -> None:
        """Until nothing happens any more without somebody's doing."""
        for _ in range(10):
            await asyncio.sleep(0)


async def test_a_host_has_so_many_seats_and_another_host_its_own():
    fetches = Fetches(host_at_once=2)
    for name in ("a", "b", "c"):
        await fetches.start(name)
    await fetches.start("elsewhere", url=OTHER)
    assert fetches.begun == ["a", "b", "elsewhere"]
    assert fetches.turns.waiting(CDN) == (1, 0)
    await fetches.end("a")
    assert fetches.begun[-1] == "c"
    for name in ("b", "c", "elsewhere"):
        await fetches.end(name)


async def test_the_same_name_and_port_are_one_host_however_the_url_is_written():
    fetches = Fetches(host_at_once=1)
    await fetches.start("a", url="https://CDN.test/1")
    await fetches.start("b", url="https://cdn.TEST/2")
    assert fetches.begun == ["a"]
    await fetches.end("a")
    await fetches.end("b")


async def test_a_connection_has_its_seats_over_all_hosts_and_holds_up_nobody_else():
    fetches = Fetches(connection_at_once=2)
    await fetches.start("a")
    await fetches.start("b", url=OTHER)
    await fetches.start("c", url=OTHER)
    await fetches.start("d")
    await fetches.start("neighbour", connection="c2")
    assert fetches.begun == ["a", "b", "neighbour"]
    await fetches.end("a")  # its seat is free at every host
    assert len(fetches.running) == 3
    await fetches.end("b")
    assert sorted(fetches.begun) == ["a", "b", "c", "d", "neighbour"]
    for name in ("c", "d", "neighbour"):
        await fetches.end(name)


async def test_connections_take_turns_whatever_their_crowds():
    fetches = Fetches(host_at_once=1)
    for number in range(6):
        await fetches.start(f"crowd {number}", connection="crowd")
    await fetches.start("alone", connection="alone")
    await fetches.end("crowd 0")
    await fetches.end(fetches.begun[-1])
    assert "alone" in fetches.begun[:3]
    for name in list(fetches.running):
        await fetches.cancel(name)
    for name in fetches.tasks:
        await fetches.cancel(name)


async def test_viewers_go_before_background_work_that_came_first():
    fetches = Fetches(host_at_once=1)
    await fetches.start("running")
    await fetches.start("storer", urgent=False)
    await fetches.start("viewer")
    await fetches.end("running")
    assert fetches.begun == ["running", "viewer"]
    await fetches.end("viewer")
    assert fetches.begun[-1] == "storer"
    await fetches.end("storer")


async def test_background_work_never_takes_the_last_seats():
    fetches = Fetches(host_at_once=3, background_at_once=1)
    await fetches.start("storer 1", urgent=False)
    await fetches.start("storer 2", urgent=False)
    assert fetches.begun == ["storer 1"]
    await fetches.start("viewer")
    assert fetches.begun == ["storer 1", "viewer"]
    await fetches.end("storer 1")
    assert fetches.begun[-1] == "storer 2"
    for name in ("viewer", "storer 2"):
        await fetches.end(name)


async def test_background_work_takes_what_no_viewer_could_use():
    fetches = Fetches(host_at_once=4, connection_at_once=1)
    await fetches.start("a")
    await fetches.start("waits for its own connection")
    await fetches.start("storer", connection="c2", urgent=False)
    assert fetches.begun == ["a", "storer"]
    for name in ("storer", "a", "waits for its own connection"):
        await fetches.end(name)


async def test_a_viewer_who_joins_a_queued_background_fill_hastens_it():
    fetches = Fetches(host_at_once=1)
    await fetches.start("running")
    await fetches.start("storer 1", urgent=False)
    joined = await fetches.start("storer 2", urgent=False)
    joined.hasten()
    assert fetches.turns.waiting(CDN) == (1, 1)
    joined.hasten()
    await fetches.end("running")
    assert fetches.begun[-1] == "storer 2"
    joined.hasten()
    await fetches.end("storer 2")
    await fetches.end("storer 1")
    assert fetches.begun == ["running", "storer 2", "storer 1"]


async def test_to_hasten_can_fill_a_seat_that_background_work_may_not_have():
    fetches = Fetches(host_at_once=2, background_at_once=1)
    await fetches.start("storer 1", urgent=False)
    joined = await fetches.start("storer 2", urgent=False)
    assert fetches.begun == ["storer 1"]
    joined.hasten()
    await fetches.settle()
    assert fetches.begun == ["storer 1", "storer 2"]
    for name in fetches.begun:
        await fetches.end(name)


async def test_too_long_a_queue_is_refused_at_once_and_told_when_to_come_again():
    fetches = Fetches(host_at_once=1, most_waiting=2)
    for name in ("a", "b", "c"):
        await fetches.start(name)
    with pytest.raises(OriginBusy) as refused:
        async with fetches.turns.turn(CDN, "c1", Urgency(urgent=True)):
            raise AssertionError("there was no place in the queue")
    assert refused.value.retry_after >= 1
    await fetches.start("background has a queue of its own", urgent=False)
    assert fetches.turns.waiting(CDN) == (2, 1)
    for name in ("a", "b", "c", "background has a queue of its own"):
        await fetches.end(name)


async def test_without_a_queue_a_free_seat_is_still_had():
    fetches = Fetches(host_at_once=1, most_waiting=0)
    await fetches.start("a")
    with pytest.raises(OriginBusy):
        async with fetches.turns.turn(CDN, "c1", Urgency(urgent=True)):
            raise AssertionError("there is no queue")
    await fetches.end("a")
    await fetches.start("b")
    await fetches.end("b")


async def test_who_waits_too_long_is_refused_and_leaves_the_queue():
    fetches = Fetches(host_at_once=1, longest_wait_seconds=0.01)
    await fetches.start("a")
    with pytest.raises(OriginBusy):
        async with fetches.turns.turn(CDN, "c1", Urgency(urgent=True)):
            raise AssertionError("there was no seat")
    assert fetches.turns.waiting(CDN) == (0, 0)
    await fetches.end("a")
    async with fetches.turns.turn(CDN, "c1", Urgency(urgent=True)):
        pass


async def test_a_leader_cancelled_in_the_queue_or_on_its_seat_leaves_no_trace():
    fetches = Fetches(host_at_once=1)
    for name in ("seated", "queued", "next"):
        await fetches.start(name)
    await fetches.cancel("queued")
    await fetches.cancel("seated")
    assert fetches.begun == ["seated", "next"]
    await fetches.end("next")
    await fetches.start("later")
    assert fetches.begun[-1] == "later"
    await fetches.end("later")


async def test_one_that_is_cancelled_in_the_moment_it_is_called_passes_its_seat_on():
    fetches = Fetches(host_at_once=1)
    for name in ("seated", "called", "next"):
        await fetches.start(name)
    fetches._ends["seated"].set()
    while fetches.turns.waiting(CDN) == (2, 0):  # noqa: ASYNC110 - a step of the loop at a time
        await asyncio.sleep(0)
    await fetches.cancel("called")  # it has the seat, and does not know yet
    assert fetches.begun == ["seated", "next"]
    await fetches.end("next")


async def test_the_rate_of_a_host_is_kept_and_its_burst_goes_at_once(monkeypatch):
    fetches = Fetches(host_per_second=50, burst=2)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(5):
        await fetches.start(f"f{number}")
    assert fetches.begun == ["f0", "f1"]
    await asyncio.wait_for(_until(lambda: len(fetches.begun) == 5), 10)
    assert loop.time() - began >= 2.9 / 50
    for name in fetches.begun:
        await fetches.end(name)


async def test_the_rate_of_one_connection_does_not_slow_another():
    fetches = Fetches(connection_per_second=0.001, burst=1)
    await fetches.start("a")
    await fetches.start("b")
    await fetches.start("other", connection="c2")
    assert fetches.begun == ["a", "other"]
    await fetches.cancel("b")
    for name in ("a", "other"):
        await fetches.end(name)


async def _until(said) -> None:
    while not said():  # noqa: ASYNC110 - what is awaited is a timer's doing
        await asyncio.sleep(0.001)


async def test_what_is_remembered_of_hosts_stays_bounded(monkeypatch):
    monkeypatch.setattr(Turns, "_MOST_REMEMBERED", 3)
    turns = Turns(TurnConfig())
    for number in range(50):
        async with turns.turn(f"https://h{number}.test/", f"c{number}", Urgency(urgent=True)):
            pass
    assert len(turns._hosts) <= 4
    assert len(turns._connections) <= 4


@pytest.mark.parametrize("seed", range(5))
async def test_a_herd_with_leavers_ends_and_never_exceeds_a_cap(seed):
    chance = random.Random(seed)
    turns = Turns(TurnConfig(host_at_once=4, connection_at_once=3, background_at_once=2, most_waiting=60, burst=1000))
    hosts, connections, most = Counter[str](), Counter[str](), Counter[str]()

    async def fetch(number: int) -> None:
        url, connection = chance.choice([CDN, OTHER]), f"c{chance.randrange(4)}"
        urgency = Urgency(urgent=chance.random() < 0.5)
        if chance.random() < 0.3:
            asyncio.get_running_loop().call_soon(urgency.hasten)
        async with turns.turn(url, connection, urgency):
            hosts[url] += 1
            connections[connection] += 1
            most["host"] = max(most["host"], hosts[url])
            most["connection"] = max(most["connection"], connections[connection])
            try:
                for _ in range(chance.randrange(5)):
                    await asyncio.sleep(0)
                if chance.random() < 0.2:
                    raise ValueError
            finally:
                hosts[url] -= 1
                connections[connection] -= 1

    herd = [asyncio.create_task(fetch(number)) for number in range(200)]
    for task in chance.sample(herd, 60):
        await asyncio.sleep(0)
        task.cancel()
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(*herd, return_exceptions=True)
    assert most["host"] <= 4
    assert most["connection"] <= 3
    assert {type(each) for each in outcomes} <= {type(None), ValueError, OriginBusy, asyncio.CancelledError}
    for url in (CDN, OTHER):
        assert turns.waiting(url) == (0, 0)
    assert all(host.idle and host.in_background == 0 for host in turns._hosts.values())
    assert all(each.users == each.running == 0 for each in turns._connections.values())


def test_a_bucket_without_a_rate_is_always_ready():
    bucket = Bucket(0, 1)
    for _ in range(1_000):
        assert bucket.ready_in(5.0) == 0
        bucket.take(5.0)


@pytest.mark.parametrize(
    "wrong", [{"host_at_once": 0}, {"background_at_once": 0}, {"burst": 0}, {"host_per_second": -1}]
)
def test_a_configuration_that_lets_nobody_through_is_refused(wrong):
    with pytest.raises(ConfigError):
        TurnConfig(**wrong)


async def test_time_that_goes_on_while_it_is_looked_at_leaves_nobody_waiting(monkeypatch):
    """uvloop's time may step between two looks: who was too early at the first must not be on time at the second."""
    fetches = Fetches(connection_per_second=100.0, burst=1)
    await fetches.start("a")
    looks = itertools.count(asyncio.get_running_loop().time() + 0.001, 0.008)
    monkeypatch.setattr(turns, "_time", lambda: next(looks))
    await fetches.start("b")
    async with asyncio.timeout(5):
        await fetches.end("b")
    await fetches.end("a")
