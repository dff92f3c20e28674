"""PostgreSQL that goes away and comes back, deadlocks, and URLs that lead nowhere."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest
from sqlalchemy import text

from fakes.catalog_rows import NOW, row, rows, seen, shown, tenant
from fakes.stepped import stepped, waiting_for_a_lock
from fakes.vaults import until
from mediavault.catalog import organisations
from mediavault.catalog import variants as catalog_variants
from mediavault.catalog.database import Catalog, CatalogConfig, open_catalog
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.variants import Views
from mediavault.errors import CatalogError, CatalogUnavailable, ConfigError

pytestmark = pytest.mark.postgres


@pytest.fixture
async def shared(postgres_database: str) -> AsyncIterator[Catalog]:
    opened = await open_catalog(CatalogConfig(postgres_database, pool_size=3))
    yield opened
    await opened.close()


async def end_every_session(url: str) -> int:
    """Cut everybody's connection to the database, as a restarted server does. How many."""
    connection = await asyncpg.connect(url)
    try:
        ended: int = await connection.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return ended
    finally:
        await connection.close()


async def works_again(catalog: Catalog) -> bool:
    with contextlib.suppress(CatalogUnavailable):
        await organisations.all_of_them(catalog)
        return True
    return False


async def test_a_server_that_is_down_is_unavailable():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(CatalogUnavailable):
            await open_catalog(CatalogConfig(f"postgresql://someone@127.0.0.1:{port}/vault"))


@pytest.mark.parametrize(
    "change",
    [
        {"netloc": "nobody:wrong@{host}"},
        {"path": "/no_such_database"},
    ],
)
async def test_a_server_that_does_not_let_us_in_is_an_error_of_ours(postgres_database, change):
    parts = urlsplit(postgres_database)
    change = {name: value.replace("{host}", f"{parts.hostname}:{parts.port}") for name, value in change.items()}
    with pytest.raises(CatalogError) as refused:
        await open_catalog(CatalogConfig(parts._replace(**change).geturl()))
    assert not isinstance(refused.value, CatalogUnavailable)


@pytest.mark.parametrize("rest", ["postgres@127.0.0.1:notaport/x", "postgres@127.0.0.1/x?sslmode=nonsense"])
async def test_a_url_that_makes_no_sense_is_the_operators_mistake(rest):
    with pytest.raises(ConfigError):
        await open_catalog(CatalogConfig(f"postgresql://{rest}"))


async def test_a_url_may_carry_the_options_of_libpq(postgres_database):
    catalog = await open_catalog(CatalogConfig(f"{postgres_database}?sslmode=disable&application_name=vault"))
    assert (await catalog.fetch(text("SHOW application_name"), {}))[0][0] == "vault"
    await catalog.close()


async def test_the_other_spelling_of_the_scheme_is_taken(postgres_database):
    catalog = await open_catalog(CatalogConfig(postgres_database.replace("postgresql://", "postgres://")))
    await catalog.close()


async def test_after_a_restart_of_the_server_it_works_again(shared, postgres_database):
    owner = await tenant(shared)
    await asyncio.gather(*(owner.variant(str(n)) for n in range(6)))
    assert await end_every_session(postgres_database) >= 1
    await until(lambda: works_again(shared))
    assert await owner.variant("7")
    assert len(await rows(shared, "variants")) == 7


async def test_an_operation_that_is_cut_off_is_unavailable_and_undone(shared, postgres_database):
    owner = await tenant(shared)
    variant_id = await owner.variant()
    async with stepped(postgres_database, catalog_variants.count_views([Views(variant_id, 1, NOW)])) as holding:
        await holding.past("UPDATE variants")

        def rename_then_wait() -> Operation[None]:
            yield Do(text("UPDATE organisations SET name = 'half done'"))
            yield from catalog_variants.count_views([Views(variant_id, 1, NOW)])

        cut_off = asyncio.create_task(shared.run(rename_then_wait))
        await until(lambda: waiting_for_a_lock(postgres_database))
        await end_every_session(postgres_database)
        with pytest.raises(CatalogUnavailable):
            await cut_off
    await until(lambda: works_again(shared))
    assert (await row(shared, "organisations"))["name"] == "default"
    assert (await row(shared, "variants"))["access_count"] == 0


async def test_the_victim_of_a_deadlock_is_run_again(shared, postgres_database):
    """Two count the same two variants in opposite orders; each waits for the other until the server picks one."""
    owner = await tenant(shared)
    first, second = await owner.variant("1"), await owner.variant("2")
    runs = []

    def count(order: tuple[str, str], name: str) -> Operation[None]:
        runs.append(name)
        for variant_id in order:
            yield from catalog_variants.count_views([Views(variant_id, 1, NOW)])
            yield Do(text("SELECT pg_sleep(0.2)"))

    await asyncio.gather(shared.run(count, (first, second), "ours"), shared.run(count, (second, first), "theirs"))
    assert len(runs) == 3
    assert {variant["access_count"] for variant in await rows(shared, "variants")} == {2}


async def test_a_caller_that_leaves_undoes_its_operation_and_gives_the_connection_back(shared, postgres_database):
    owner = await tenant(shared)
    variant_id = await owner.variant()
    async with stepped(postgres_database, catalog_variants.count_views([Views(variant_id, 1, NOW)])) as holding:
        await holding.past("UPDATE variants")
        waiting = [
            asyncio.create_task(shared.run(catalog_variants.count_views, [Views(variant_id, 1, NOW)]))
            for _ in range(3)  # as many as the pool has
        ]
        await until(lambda: waiting_for_a_lock(postgres_database))
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await holding.finish()
    async with asyncio.timeout(10):
        await owner.observe(seen("2", shown()))
    assert (await row(shared, "variants", id=variant_id))["access_count"] == 1


async def test_a_closed_catalog_says_so(postgres_database):
    catalog = await open_catalog(CatalogConfig(postgres_database))
    await catalog.close()
    with pytest.raises(CatalogUnavailable):
        await catalog.run(organisations.set_settings, "org", "{}")
    with pytest.raises(CatalogUnavailable):
        await organisations.all_of_them(catalog)
