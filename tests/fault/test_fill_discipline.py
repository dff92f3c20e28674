"""What origins are spared: cool-downs at any request rate, caps, viewers before storers, and a queue that ends."""

import asyncio
from collections import Counter

import pytest
from sqlalchemy import text

from fakes.variants import Seen, see, view
from fakes.vaults import RunningVault, running_vault, until
from mediavault.domain.times import SECOND
from mediavault.errors import CatalogUnavailable
from mediavault.platform.faults import Fault
from mediavault.storer.worker import WorkerConfig
from mediavault.vault.fills.config import FillConfig
from mediavault.vault.fills.turns import TurnConfig

SIZE = 200_000
_RUN_AT = text("SELECT run_at FROM variants WHERE id = :id")


async def ask_many(seen: Seen, times: int) -> Counter[int]:
    """The statuses of so many requests at once."""
    answers = await asyncio.gather(*(seen.vault.ask("GET", seen.url) for _ in range(times)))
    return Counter(answer.status for answer in answers)


async def test_a_refused_object_costs_one_request_however_often_it_is_asked_for(vault):
    seen = await see(vault, await vault.connect())
    vault.sandbox.faults.add(Fault(path=seen.path, status=451))
    for _ in range(10):
        assert await ask_many(seen, 100) == {502: 100}
    assert seen.fetches == 1


async def test_a_refusal_that_a_fresh_url_does_not_mend_costs_one_request_a_url(vault):
    seen = await see(vault, await vault.connect())
    vault.sandbox.faults.add(Fault(path=seen.path, status=404))
    for _ in range(5):
        assert await ask_many(seen, 100) == {502: 100}
    await seen.until_idle()
    assert seen.fetches <= 2
    assert await ask_many(seen, 100) == {502: 100}
    assert seen.fetches <= 2


async def test_to_ask_for_it_to_be_stored_does_not_get_round_a_cool_down(vault):
    seen = await see(vault, await vault.connect())
    vault.sandbox.faults.add(Fault(path=seen.path, status=451))
    assert await ask_many(seen, 5) == {502: 5}
    for _ in range(5):
        assert (await vault.ask("POST", seen.url)).status == 202

    async def put_off() -> bool:
        row = await seen.row()
        return row.status == "pending" and "451" in (row.last_error or "")

    await until(put_off)
    assert seen.fetches == 1
    assert (await seen.row()).attempts == 0


async def test_a_cool_down_holds_while_the_catalog_cannot_remember_it(vault, monkeypatch):
    seen = await see(vault, await vault.connect())
    vault.sandbox.faults.add(Fault(path=seen.path, status=451))
    catalog = vault.vault.foundation.catalog
    run = catalog.run

    async def refuse(operation, *arguments):
        if operation.__name__ == "blame_origin":
            raise CatalogUnavailable
        return await run(operation, *arguments)

    monkeypatch.setattr(catalog, "run", refuse)
    for _ in range(3):
        assert await ask_many(seen, 20) == {502: 20}
    assert seen.fetches == 1


@pytest.mark.parametrize(("told", "seconds"), [("120", 120), ("soon", 5), ("999999999", 5)])
async def test_a_retry_after_is_honoured_and_passed_on_and_nonsense_is_not(vault, told, seconds):
    seen = await see(vault, await vault.connect())
    vault.sandbox.faults.add(Fault(path=seen.path, status=503, retry_after=told))
    assert await ask_many(seen, 3) == {502: 3}
    await seen.until_idle()
    left = (await seen.row()).not_before - vault.vault.now()
    assert (seconds - 60) * SECOND < left <= seconds * SECOND
    answer = await vault.ask("GET", seen.url)
    assert int(answer.headers["Retry-After"]) <= seconds
    assert seen.fetches == 1


async def test_a_storer_too_honours_a_retry_after(vault):
    seen = await see(vault, await vault.connect())
    vault.sandbox.faults.add(Fault(path=seen.path, status=429, retry_after=600))
    await vault.ask("POST", seen.url)

    async def tried() -> bool:
        return (await seen.row()).attempts == 1

    await until(tried)
    (row,) = await vault.vault.foundation.catalog.fetch(_RUN_AT, {"id": (await seen.row()).id})
    assert row[0] - vault.vault.now() > 300 * SECOND


async def test_an_origin_that_takes_too_long_in_all_is_given_up(tmp_path):
    fill = FillConfig(longest_seconds=0.3, unavailable_cool_down_ms=60_000)
    async with running_vault(tmp_path / "data", fill=fill, worker=WorkerConfig(stores_at_once=0)) as vault:
        seen = await see(vault, await vault.connect(), size_bytes=SIZE)
        vault.sandbox.faults.add(Fault(path=seen.path, bytes_per_second=SIZE // 4))
        got = await view(seen)
        assert got is None or got[0] == 502
        await seen.until_idle()
        assert "longer than" in ((await seen.row()).last_error or "")
        assert vault.vault.media.edge.statistics().copies == 0


@pytest.fixture
async def narrow(tmp_path):
    """A vault that fetches one thing at a time from a host, slowly, and lets two wait."""
    turns = TurnConfig(host_at_once=1, background_at_once=1, most_waiting=2)
    async with running_vault(tmp_path / "data", turns=turns, worker=WorkerConfig(look_every_seconds=0.05)) as vault:
        yield vault


async def held(vault: RunningVault, connection: str):
    """An object whose fetch holds the only turn until the fault is cleared."""
    seen = await see(vault, connection, size_bytes=SIZE)
    armed = vault.sandbox.faults.add(Fault(path=seen.path, stall_at=1_000))
    viewing = asyncio.create_task(view(seen))
    await until(lambda: _fetched(seen))
    return seen, viewing, armed


async def _fetched(seen: Seen) -> bool:
    return seen.fetches > 0


def waiting(vault: RunningVault) -> tuple[int, int]:
    """How many wait for the sandbox's host."""
    found: tuple[int, int] = vault.vault.media.revalidating._turns.waiting(vault.platform_url)
    return found


async def test_a_full_queue_answers_503_at_once_and_everybody_else_is_served(narrow):
    connection = await narrow.connect()
    first, viewing, armed = await held(narrow, connection)
    others = [await see(narrow, connection, size_bytes=SIZE) for _ in range(4)]
    views = [asyncio.create_task(view(each)) for each in others]

    async def refused() -> bool:
        return sum(each.done() for each in views) == 2

    await until(refused)
    turned_away = [each for each, task in zip(others, views, strict=True) if task.done()]
    answer = await narrow.ask("GET", turned_away[0].url)
    assert (answer.status, answer.json["code"], answer.headers["Cache-Control"]) == (503, "ORIGIN_BUSY", "no-store")
    assert int(answer.headers["Retry-After"]) >= 1
    armed.clear()
    assert await viewing == (200, first.sha256)
    await asyncio.gather(*views)
    for each in others:
        assert await view(each) == (200, each.sha256)
        assert each.fetches == 1  # to be turned away costs the origin nothing, and is no failure of it


async def test_a_viewer_who_joins_a_waiting_store_hastens_it(narrow):
    connection = await narrow.connect()
    first, viewing, armed = await held(narrow, connection)
    stored = [await see(narrow, connection, size_bytes=SIZE) for _ in range(2)]
    for each in stored:
        assert (await narrow.ask("POST", each.url)).status == 202

    async def queued() -> bool:
        return waiting(narrow) == (0, 2)

    await until(queued)
    joined = asyncio.create_task(view(stored[1]))

    async def hastened() -> bool:
        return waiting(narrow) == (1, 1)

    await until(hastened)
    armed.clear()
    assert await joined == (200, stored[1].sha256)
    assert await viewing == (200, first.sha256)
    for each in stored:
        row = await each.until_status("stored")
        assert (row.sha256, row.attempts) == (each.sha256, 0)
    log = [record.path for record in narrow.sandbox.log.records("/cdn/")]
    assert _first(log, stored[1]) < _first(log, stored[0])


def _first(log: list[str], seen: Seen) -> int:
    return next(place for place, path in enumerate(log) if seen.path in path)


async def test_a_vault_that_stops_with_a_full_queue_stops(narrow):
    connection = await narrow.connect()
    _, viewing, armed = await held(narrow, connection)
    views = [asyncio.create_task(view(await see(narrow, connection))) for _ in range(2)]

    async def queued() -> bool:
        return waiting(narrow)[0] == 2

    await until(queued)
    await narrow.vault.filling.drain()
    assert waiting(narrow) == (0, 0)
    armed.clear()
    await asyncio.gather(viewing, *views)
