"""Counting views: none is lost to a database that fails, or to a stop in the middle of a flush; none counts twice."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from fakes.variants import see, view
from fakes.vaults import RunningVault, until
from mediavault.catalog.sqlite import connect


@pytest.fixture
def beside(vault: RunningVault) -> Iterator[Any]:
    """A second writer on the vault's database."""
    database = connect(vault.vault.config.data / "catalog.sqlite", writes=True)
    yield database
    database.close()


async def test_a_database_that_fails_costs_no_view(vault, beside):
    seen = await see(vault, await vault.connect())
    beside.execute(
        "CREATE TRIGGER away BEFORE UPDATE OF access_count ON variants BEGIN SELECT RAISE(ABORT, 'away'); END"
    )
    for _ in range(3):
        await view(seen)

    async def held_back() -> bool:
        return bool(sum(views.count for views in vault.vault.counting._views.values()) == 3)

    await until(held_back)
    assert (await seen.row()).access_count == 0
    beside.execute("DROP TRIGGER away")
    await view(seen)
    await vault.vault.counting.flush()
    assert (await seen.row()).access_count == 4


async def test_a_stop_in_the_middle_of_a_flush_counts_every_view_once(vault, beside):
    seen = await see(vault, await vault.connect())
    counting = vault.vault.counting
    beside.execute("BEGIN IMMEDIATE")
    await view(seen)

    async def writing() -> bool:
        return bool(counting._flushing and not counting._flushing.done() and not counting._views)

    await until(writing)
    await view(seen)
    for task in vault.vault._counting:
        task.cancel()
    await asyncio.gather(*vault.vault._counting, return_exceptions=True)
    last = asyncio.create_task(counting.flush())
    await asyncio.sleep(0)
    beside.execute("ROLLBACK")
    await last
    assert (await seen.row()).access_count == 2
