"""Edge copies whose time is over: asked about once for everybody; refreshed, replaced, or served stale for a while."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes.variants import Seen, see, view
from fakes.vaults import running_vault, until
from mediavault.edge.statistics import EdgeStatistics
from mediavault.platform.faults import Fault
from mediavault.storer.worker import WorkerConfig
from mediavault.vault.fills.config import FillConfig

#: Nothing is stored, so that what is viewed stays at the edge.
NO_STORER = WorkerConfig(stores_at_once=0)


async def viewed(data: Path, **fill: Any) -> AsyncIterator[Seen]:
    """A media item viewed once in a vault whose copies are stale at once."""
    config = FillConfig(**({"fresh_ms": 0} | fill))
    async with running_vault(data, fill=config, worker=NO_STORER) as vault:
        seen = await see(vault, await vault.connect())
        assert await view(seen) == (200, seen.sha256)
        await seen.until_idle()
        yield seen


@pytest.fixture
async def stale(tmp_path):
    """A stale copy; an origin that fails is asked again after a millisecond."""
    async for seen in viewed(tmp_path / "data", unavailable_cool_down_ms=1):
        yield seen


@pytest.fixture
async def cooling(tmp_path):
    """A stale copy, and long cool-downs."""
    async for seen in viewed(tmp_path / "data", unavailable_cool_down_ms=600_000):
        yield seen


@pytest.fixture
async def graceless(tmp_path):
    """A stale copy that is not served when the origin fails."""
    async for seen in viewed(tmp_path / "data", stale_if_error_ms=0):
        yield seen


@pytest.fixture
async def fresh_again(tmp_path):
    """A copy that is fresh for a while, in a vault whose clock a test moves on."""
    async for seen in viewed(tmp_path / "data", fresh_ms=600_000):
        yield seen


def numbers(seen: Seen) -> EdgeStatistics:
    """The edge cache's."""
    found: EdgeStatistics = seen.vault.vault.media.edge.statistics()
    return found


def statuses(seen: Seen) -> list[int]:
    """What the origin answered, in order."""
    return [record.status for record in seen.vault.sandbox.log.records(seen.path)]


async def test_a_copy_that_is_still_right_is_served_after_a_304(stale):
    assert await view(stale) == (200, stale.sha256)
    assert statuses(stale) == [200, 304]
    assert numbers(stale).revalidated == 1


async def test_a_copy_that_was_revalidated_keeps_its_etag(stale):
    first, second = [await stale.vault.ask("GET", stale.url) for _ in range(2)]
    assert first.headers["ETag"] == second.headers["ETag"]
    unchanged = await stale.vault.ask("GET", stale.url, if_none_match=first.headers["ETag"])
    assert unchanged.status == 304


async def test_one_revalidation_does_for_everybody_who_waits(stale):
    stale.vault.sandbox.faults.add(Fault(path=stale.path, latency_ms=400))
    herd = [asyncio.create_task(view(stale)) for _ in range(40)]
    await until(lambda: _asked(stale, 2))
    herd.pop().cancel()  # whoever leaves does not stop it
    assert set(await asyncio.gather(*herd)) == {(200, stale.sha256)}
    assert statuses(stale).count(304) == numbers(stale).revalidated < 40


async def _asked(seen: Seen, times: int) -> bool:
    return seen.fetches >= times


async def test_other_bytes_take_the_place_of_the_copy(stale):
    before = stale.sha256
    stale.vault.sandbox.change_media(stale.media.id, size_bytes=50_000, seed=5)
    assert stale.sha256 != before
    assert await view(stale) == (200, stale.sha256)
    assert numbers(stale).superseded == 1
    await stale.until_idle()
    assert numbers(stale).copies == 1


@pytest.mark.parametrize(
    "fault", [{"status": 503}, {"status": 404}, {"status": 500}, {"status": 206}, {"redirect": "x:"}]
)
async def test_while_the_origin_fails_the_stale_copy_is_served_and_the_reason_counted(stale, fault):
    armed = stale.vault.sandbox.faults.add(Fault(path=stale.path, **fault))
    assert await view(stale) == (200, stale.sha256)
    assert sum(numbers(stale).stale_served.values()) == 1
    assert (await stale.row()).last_error
    armed.clear()


async def test_a_page_that_answers_instead_of_the_media_does_not_cost_the_copy(stale):
    page = "<!doctype html><title>Log in</title>"
    stale.vault.sandbox.faults.add(Fault(path=stale.path, body=page))
    for _ in range(3):
        assert await view(stale) == (200, stale.sha256)
    assert sum(numbers(stale).stale_served.values()) == 3
    assert stale.fetches == 3  # the page, once for the question and once for the bytes; then it cools down


async def test_a_failing_origin_is_not_asked_at_every_view_of_a_stale_copy(cooling):
    cooling.vault.sandbox.faults.add(Fault(path=cooling.path, status=503))
    for _ in range(10):
        assert await view(cooling) == (200, cooling.sha256)
    assert cooling.fetches == 2
    served = numbers(cooling).stale_served
    assert (served["OriginUnavailable"], served["OriginCoolingDown"]) == (1, 9)


async def test_past_the_grace_the_failure_is_told(graceless):
    graceless.vault.sandbox.faults.add(Fault(path=graceless.path, status=503))
    answer = await graceless.vault.ask("GET", graceless.url)
    assert (answer.status, answer.headers["Cache-Control"]) == (502, "no-store")
    assert numbers(graceless).stale_served == {}


async def test_a_fresh_copy_is_not_asked_about(fresh_again):
    for _ in range(3):
        assert await view(fresh_again) == (200, fresh_again.sha256)
    assert statuses(fresh_again) == [200]
    assert numbers(fresh_again).revalidated == 0
