"""SIGSTOP past the lease, then SIGCONT: somebody else has stored it meanwhile, and who wakes up changes nothing."""

import pytest
import pytest_asyncio

from fakes.catalog_rows import rows
from fakes.crash_ground import prepared_ground
from fakes.crash_runs import copy_folder
from fakes.vaults import running_vault, until
from mediavault.catalog.database import CatalogConfig, open_catalog
from mediavault.storer.sweeps import SweepConfig
from mediavault.storer.worker import WorkerConfig

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Where a store stands still: before and after it is known how much comes, durable, and settled.
PAUSES = [
    ("before", "catalog.reserve"),
    ("before", "steps.sync_file"),
    ("before", "steps.rename_file"),
    ("after", "steps.rename_file"),
    ("before", "catalog.settle_fetched"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_ground(postgres_url, tmp_path_factory):
    async with prepared_ground(tmp_path_factory.mktemp("postgres"), postgres_url) as prepared:
        yield prepared


async def variants(copy):
    catalog = await open_catalog(CatalogConfig(copy.database_url))
    try:
        return await rows(catalog, "variants")
    finally:
        await catalog.close()


@pytest.mark.parametrize(("side", "at"), PAUSES)
async def test_a_storer_that_slept_past_its_lease_is_fenced(shared_ground, played, tmp_path, side, at):
    async with shared_ground.copy("store") as copy:
        fail_point = {"at": at, "side": side, "nth": 1}
        async with played.paused(copy.job | {"lease_ms": 200}, fail_point) as go_on:
            await stored_by_another(shared_ground, copy, tmp_path / "another")
            before = await variants(copy)
            assert await go_on()
            assert await variants(copy) == before
        assert await copy.check_crashed() == []
        assert await copy.check_recovered(done=True) == []


async def stored_by_another(ground, copy, folder) -> None:
    """A second vault on the same catalog and the same blobs, with a folder of its own, until everything is stored."""
    copy_folder(copy.folder, folder)
    blobs = copy.folder / "blobs"
    async with running_vault(
        folder,
        sandbox=ground.sandbox,
        platform_url=ground.platform_url,
        database_url=copy.database_url,
        blobs=blobs,
        sweep=SweepConfig(every_seconds=0.1),
        worker=WorkerConfig(look_every_seconds=0.05),
    ) as vault:
        catalog = vault.vault.foundation.catalog

        async def stored() -> bool:
            return all(each["status"] in {"stored", "removed"} for each in await rows(catalog, "variants"))

        await until(stored)
