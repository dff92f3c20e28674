"""The byte rate of origins: waiting, not failing; evenly among fills, viewers first."""

import asyncio
from dataclasses import dataclass

from mediavault.vault.fills.traffic import Traffic

RATE = 1_000_000
USED_UP = RATE + RATE // 20  #: what passes at once, and the next 50 ms
CHUNK = RATE // 200


@dataclass
class Fill:
    urgent: bool = True


async def take(traffic: Traffic, name: str, fill: Fill, passed: list[str], chunks: int) -> None:
    for _ in range(chunks):
        await traffic.pass_through("c", CHUNK, fill)
        passed.append(name)


async def test_no_rate_never_waits():
    traffic = Traffic(0)
    async with asyncio.timeout(5):
        for _ in range(1000):
            await traffic.pass_through("c", 1 << 40, Fill())


async def test_what_is_over_the_rate_waits_until_it_is_not():
    traffic, loop = Traffic(RATE), asyncio.get_running_loop()
    await traffic.pass_through("c", RATE, Fill())
    began_at = loop.time()
    for _ in range(10):
        await traffic.pass_through("c", CHUNK, Fill())
    assert loop.time() - began_at >= 8 * CHUNK / RATE


async def test_fills_of_a_connection_take_turns_chunk_by_chunk():
    traffic, passed, fill = Traffic(RATE), list[str](), Fill()
    await traffic.pass_through("c", USED_UP, fill)
    await asyncio.gather(*(take(traffic, name, fill, passed, 4) for name in "abc"))
    assert passed == list("abc" * 4)


async def test_what_a_viewer_waits_for_goes_before_what_nobody_does():
    traffic, passed = Traffic(RATE), list[str]()
    await traffic.pass_through("c", USED_UP, Fill())
    background = asyncio.create_task(take(traffic, "store", Fill(urgent=False), passed, 2))
    await asyncio.sleep(0)
    await asyncio.gather(background, take(traffic, "view", Fill(), passed, 3))
    assert passed == ["view", "view", "view", "store", "store"]


async def test_a_viewer_who_joins_hastens_the_chunk_that_waits():
    traffic, passed, joined = Traffic(RATE), list[str](), Fill(urgent=False)
    await traffic.pass_through("c", USED_UP, Fill())
    takes = [asyncio.create_task(take(traffic, "store", Fill(urgent=False), passed, 1))]
    takes.append(asyncio.create_task(take(traffic, "joined", joined, passed, 1)))
    await asyncio.sleep(0)
    joined.urgent = True
    await asyncio.gather(*takes)
    assert passed == ["joined", "store"]


async def test_a_connection_over_its_rate_holds_up_no_other():
    traffic = Traffic(RATE)
    await traffic.pass_through("greedy", RATE * 100_000, Fill())
    waiting = asyncio.create_task(traffic.pass_through("greedy", 1, Fill()))
    async with asyncio.timeout(5):
        await traffic.pass_through("other", 1, Fill())
    assert not waiting.done()
    waiting.cancel()


async def test_who_gives_up_waiting_holds_up_nobody():
    traffic, passed = Traffic(RATE), list[str]()
    await traffic.pass_through("c", USED_UP, Fill())
    leaving = asyncio.create_task(traffic.pass_through("c", RATE * 100_000, Fill()))
    await asyncio.sleep(0)
    leaving.cancel()
    async with asyncio.timeout(10):
        await take(traffic, "stays", Fill(), passed, 2)


async def test_a_flood_of_connections_takes_a_bounded_memory():
    traffic = Traffic(RATE)
    for number in range(5_000):
        await traffic.pass_through(str(number), 1, Fill())
    assert len(traffic._lines) <= 1_001
