"""The database goes away at a claim, a settlement, a commit or a read; is locked; nobody knows what was committed."""

import asyncio
import hashlib
import time
from collections import Counter

import pytest
import pytest_asyncio
from sqlalchemy import text

from fakes.catalog_rows import row, rows, tenant
from fakes.crash_ground import Ground, prepared_ground
from fakes.cutting_proxy import Cut, cutting_proxy
from fakes.vaults import running_vault, until
from mediavault.catalog.database import CatalogConfig, open_catalog
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.postgres import _SESSION
from mediavault.catalog.sqlite import connect
from mediavault.errors import CatalogUnavailable

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: The commits of each scene; one more would be cut in none.
COMMITS = {"store": 3, "remove": 4, "restore": 2, "sweep": 4, "quarantine": 5}
IN_EVERY_RUN = {("store", 1), ("store", 3), ("remove", 1), ("quarantine", 1)}
CUT_AT = [
    pytest.param(scene, n, marks=[] if (scene, n) in IN_EVERY_RUN else [pytest.mark.long])
    for scene, most in COMMITS.items()
    for n in range(1, most + 1)
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres_ground(postgres_url, tmp_path_factory):
    async with prepared_ground(tmp_path_factory.mktemp("postgres"), postgres_url) as prepared:
        yield prepared


async def events(copy):
    """How often each thing was told of each variant since the scene began."""
    catalog = await open_catalog(CatalogConfig(copy.database_url))
    try:
        return Counter((each["variant_id"], each["type"]) for each in await rows(catalog, "outbox"))
    finally:
        await catalog.close()


@pytest.mark.parametrize("cut", Cut)
@pytest.mark.parametrize(("scene", "at"), CUT_AT)
async def test_a_commit_of_unknown_outcome_is_no_loss_and_no_repetition(
    postgres_ground: Ground, played, scene, at, cut
):
    async with postgres_ground.copy(scene) as copy, cutting_proxy(copy.database_url) as proxy:
        before = await events(copy)
        proxy.cut = cut
        job = copy.job | {"database_url": proxy.url, "lease_ms": 300, "reclaims": True}
        async with played.paused(job, {"at": "start", "side": "before", "nth": 1}) as go_on:
            proxy.commits, proxy.at = 0, at
            assert await go_on()
        assert proxy.made == 1, f"only {proxy.commits} commits"
        assert await copy.check_crashed() == []
        told = await events(copy) - before
        assert [
            each for each, times in told.items() if times > 1 and not each[1].endswith((".claimed", ".released"))
        ] == []
        assert await copy.check_recovered(done=True) == []


@pytest.mark.parametrize("operation", ["claim", "reserve", "settle_fetched"])
async def test_a_database_that_is_down_in_the_middle_of_a_store_delays_it(postgres_ground, played, operation):
    async with postgres_ground.copy("store") as copy, cutting_proxy(copy.database_url) as proxy:
        job = copy.job | {"database_url": proxy.url, "lease_ms": 300, "reclaims": True}
        async with played.paused(job, {"at": f"catalog.{operation}", "side": "before", "nth": 1}) as go_on:
            proxy.go_down()
            ending = asyncio.create_task(go_on())
            await asyncio.sleep(0)
            proxy.down = False
            assert await ending
        assert await copy.check_crashed() == []
        assert await copy.check_recovered(done=True) == []


async def test_a_process_that_sleeps_in_a_transaction_does_not_hold_its_rows_for_ever(postgres_database, monkeypatch):
    monkeypatch.setitem(_SESSION, "idle_in_transaction_session_timeout", "50ms")
    sleeper = await open_catalog(CatalogConfig(postgres_database))
    try:
        await tenant(sleeper)

        def rename_and_sleep() -> Operation[None]:
            yield Do(text("UPDATE organisations SET name = 'half done'"))
            time.sleep(0.5)  # the whole process stands still
            yield Do(text("UPDATE organisations SET name = 'done'"))

        with pytest.raises(CatalogUnavailable):
            await sleeper.run(rename_and_sleep)
        assert (await row(sleeper, "organisations"))["name"] == "default"
    finally:
        await sleeper.close()


@pytest.mark.slow
async def test_a_vault_whose_database_is_down_says_so_and_serves_again_when_it_is_back(tmp_path, postgres_database):
    async with (
        cutting_proxy(postgres_database) as proxy,
        running_vault(tmp_path / "data", database_url=proxy.url) as vault,
    ):
        connection = await vault.connect()
        media, item = await vault.add(connection, size_bytes=30_000)
        url = item["media"]["full"]["url"]
        proxy.go_down()
        for method, path in (("GET", f"/v2/vault-plus/media/{media.id}"), ("GET", "/v2/vault-plus/media")):
            answer = await vault.call(method, path, connection=connection)
            assert (answer.status, answer.headers["Cache-Control"]) == (503, "no-store")
        for method in ("GET", "HEAD", "POST"):
            assert (await vault.ask(method, url)).status == 503
        proxy.down = False

        async def back() -> bool:
            return (await vault.ask("POST", url)).status == 202

        await until(back)
        await vault.until_stored(connection, media.id)
        viewed = await vault.ask("GET", url)
        assert hashlib.sha256(viewed.body).hexdigest() == media.renditions["full"].content.sha256()


@pytest.mark.parametrize("operation", ["claim", "reserve", "settle_fetched"])
async def test_a_sqlite_catalog_that_another_process_locks_makes_a_store_wait(sqlite_ground, played, operation):
    async with sqlite_ground.copy("store") as copy:
        fail_point = {"at": f"catalog.{operation}", "side": "before", "nth": 1}
        async with played.paused(copy.job, fail_point) as go_on:
            other = connect(copy.folder / "catalog.sqlite", writes=True)
            other.execute("BEGIN IMMEDIATE")
            ending = asyncio.create_task(go_on())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(ending), 0.3)
            other.execute("ROLLBACK")
            other.close()
            assert await ending
        assert await copy.check_crashed() == []
        assert await copy.check_recovered(done=True) == []
