"""SQLite's one writer: operations share a commit and nothing else; whatever happens, callers hear of it."""

import asyncio
import gc
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from fakes import system_calls
from fakes.catalog_rows import NOW, dump, row, rows, seen, shown, tenant
from mediavault.catalog import items, organisations
from mediavault.catalog.database import CatalogConfig, open_catalog
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.sqlite import SqliteCatalog, connect
from mediavault.errors import CatalogError, CatalogUnavailable, Conflict


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite"


@pytest.fixture
async def catalog(path: Path) -> AsyncIterator[SqliteCatalog]:
    opened = await open_catalog(CatalogConfig(f"sqlite:///{path}"))
    assert isinstance(opened, SqliteCatalog)
    yield opened
    await opened.close()


def create(name: str) -> Operation[str]:
    yield from organisations.create(f"id of {name}", name, "{}", NOW)
    return name


def create_then_fail(name: str) -> Operation[str]:
    yield from create(name)
    raise Conflict(f"{name} is not wanted")


def create_with_a_broken_key(name: str) -> Operation[str]:
    yield from create(name)
    yield Do(text("INSERT INTO organisations VALUES ('id of ' || :name, 'another', '{}', 0, 1)"), {"name": name})
    return name


def create_with_bad_sql(name: str) -> Operation[str]:
    yield from create(name)
    yield Do(text("INSERT INTO nowhere VALUES (1)"))
    return name


def pragma(statement: str) -> Operation[None]:
    yield Do(text(f"PRAGMA {statement}"))


async def names(catalog: SqliteCatalog) -> list[str]:
    return [organisation.name for organisation in await organisations.all_of_them(catalog)]


class Pause:
    """Holds the writer inside an operation, so that what is handed in meanwhile shares the next group."""

    def __init__(self, catalog: SqliteCatalog) -> None:
        self._catalog = catalog
        self._held, self._go = threading.Event(), threading.Event()

    def _hold(self) -> Operation[None]:
        self._held.set()
        self._go.wait(20)
        yield Do(text("SELECT 1"))

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._catalog.run(self._hold))
        await asyncio.to_thread(self._held.wait, 20)

    async def __aexit__(self, *_: object) -> None:
        for _turn in range(3):
            await asyncio.sleep(0)  # lets tasks that were made meanwhile hand in their operations
        self._go.set()
        await self._task


async def test_an_operation_that_raises_undoes_itself_and_none_of_its_group(catalog):
    async with Pause(catalog):
        operations = (create, create_then_fail, create_with_a_broken_key, create_with_bad_sql, create)
        group = [asyncio.create_task(catalog.run(op, f"org {n}")) for n, op in enumerate(operations)]
    outcomes = await asyncio.gather(*group, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [str, Conflict, CatalogError, CatalogUnavailable, str]
    assert await names(catalog) == ["org 0", "org 4"]


async def test_a_caller_that_leaves_hurts_nobody(catalog):
    async with Pause(catalog):
        leaving = asyncio.create_task(catalog.run(create, "leaving"))
        staying = asyncio.create_task(catalog.run(create, "staying"))
        await asyncio.sleep(0)
        leaving.cancel()
    assert await staying == "staying"
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await names(catalog) == ["leaving", "staying"]  # it was handed in: it is done


async def test_an_answer_means_that_others_can_read_it(catalog, path):
    await catalog.run(create, "here")
    other = connect(path, writes=False)
    assert other.execute("SELECT name FROM organisations").fetchall() == [("here",)]
    other.close()
    assert await names(catalog) == ["here"]


async def test_many_operations_at_once_all_commit(catalog):
    assert await asyncio.gather(*(catalog.run(create, f"{n:04}") for n in range(600)))
    assert await names(catalog) == [f"{n:04}" for n in range(600)]


async def test_a_locked_database_is_unavailable_and_works_again(catalog, path):
    await catalog.run(pragma, "busy_timeout=20")
    other = connect(path, writes=True)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(CatalogUnavailable, match="locked"):
        await catalog.run(create, "refused")
    assert await names(catalog) == []  # readers do not care
    other.execute("ROLLBACK")
    other.close()
    await catalog.run(create, "taken")
    assert await names(catalog) == ["taken"]


async def test_a_full_disk_is_unavailable_and_loses_nothing_that_was_answered(catalog):
    owner = await tenant(catalog, "before")
    pages = (await catalog.fetch(text("PRAGMA page_count"), {}))[0][0]
    await catalog.run(pragma, f"max_page_count={pages + 1}")
    before = await dump(catalog)
    many = [seen(str(n), shown("full"), shown("thumb")) for n in range(500)]
    with pytest.raises(CatalogUnavailable, match="full"):
        await owner.observe(*many)
    assert await dump(catalog) == before
    await catalog.run(pragma, "max_page_count=1000000")
    assert len(await owner.observe(*many)) == 1000


async def test_when_the_disk_is_full_the_whole_group_hears_the_truth(catalog):
    owner = await tenant(catalog, "before")
    pages = (await catalog.fetch(text("PRAGMA page_count"), {}))[0][0]
    await catalog.run(pragma, f"max_page_count={pages + 1}")
    async with Pause(catalog):
        small = [asyncio.create_task(catalog.run(create, f"org {n}")) for n in range(3)]
        large = asyncio.create_task(owner.observe(*[seen(str(n)) for n in range(500)]))
    outcomes = await asyncio.gather(*small, large, return_exceptions=True)
    assert isinstance(outcomes[-1], CatalogUnavailable)
    told = {outcome for outcome in outcomes if isinstance(outcome, str)}
    assert set(await names(catalog)) == {"before"} | told


async def test_closing_finishes_what_was_handed_in(path):
    catalog = await open_catalog(CatalogConfig(f"sqlite:///{path}"))
    operations = [asyncio.create_task(catalog.run(create, f"{n:03}")) for n in range(300)]
    reads = [asyncio.create_task(organisations.all_of_them(catalog)) for _ in range(20)]
    await asyncio.sleep(0)
    await catalog.close()
    assert len(await asyncio.gather(*operations)) == 300
    await asyncio.gather(*reads)
    assert sorted(found.name for found in path.parent.iterdir()) == ["catalog.sqlite"]  # the WAL was folded in
    reopened = await open_catalog(CatalogConfig(f"sqlite:///{path}"))
    assert len(await organisations.all_of_them(reopened)) == 300
    await reopened.close()


async def test_a_closed_catalog_says_so_instead_of_keeping_callers_waiting(path):
    catalog = await open_catalog(CatalogConfig(f"sqlite:///{path}"))
    await catalog.close()
    async with asyncio.timeout(5):
        with pytest.raises(CatalogUnavailable):
            await catalog.run(create, "late")
        with pytest.raises(CatalogError):
            await items.connection_and_item(catalog, "org", "conn", "1")
        with pytest.raises(CatalogUnavailable):
            await organisations.all_of_them(catalog)
        await catalog.close()


async def test_readers_cannot_write(catalog):
    with pytest.raises(CatalogError):
        await catalog.fetch(text("DELETE FROM organisations"), {})
    with pytest.raises(CatalogError):
        await catalog.fetch_list(text("DELETE FROM organisations"), {})


async def test_a_loop_that_ended_does_not_stop_the_writer(path):
    """The answer to a caller whose loop is gone has nowhere to go; the next caller is served."""
    catalog = await open_catalog(CatalogConfig(f"sqlite:///{path}"))
    assert isinstance(catalog, SqliteCatalog)

    def abandoned() -> None:
        async def start() -> None:
            task = asyncio.create_task(catalog.run(create, "abandoned"))
            await asyncio.sleep(0)
            task.cancel()

        asyncio.run(start())

    async with Pause(catalog):
        await asyncio.to_thread(abandoned)
    await catalog.run(create, "next")
    assert await names(catalog) == ["abandoned", "next"]
    await catalog.close()
    gc.collect()


async def test_a_missing_value_is_the_programs_mistake_and_undoes_the_operation(catalog):
    def forgetful() -> Operation[None]:
        yield from create("half")
        yield Do(organisations._ADD_KEY, {})

    with pytest.raises(KeyError):
        await catalog.run(forgetful)
    assert await names(catalog) == []
    assert await rows(catalog, "organisations") == []


async def test_the_names_of_the_folders_made_for_a_catalog_survive_a_power_cut(tmp_path, monkeypatch):
    synced = system_calls.record(monkeypatch)
    opened = await open_catalog(CatalogConfig(f"sqlite:///{tmp_path / 'one' / 'two' / 'catalog.sqlite'}"))
    await opened.close()
    assert [each for each in synced if each.startswith("fsync")] == [f"fsync {tmp_path.name}", "fsync one"]
    assert stat.S_IMODE((tmp_path / "one" / "two").stat().st_mode) == 0o700


async def test_commits_survive_a_power_cut(catalog):
    def settings() -> Operation[tuple[object, object, object]]:
        full = yield Do(text("PRAGMA synchronous"))
        journal = yield Do(text("PRAGMA journal_mode"))
        keys = yield Do(text("PRAGMA foreign_keys"))
        return full[0][0], journal[0][0], keys[0][0]

    assert await catalog.run(settings) == (2, "wal", 1)
    owner = await tenant(catalog)
    assert (await row(catalog, "connections"))["id"] == owner.connection_id


async def test_a_point_read_is_repeated_until_something_is_committed(catalog):
    statements: list[str] = []
    catalog._reader.set_trace_callback(statements.append)
    await catalog.run(create, "one")
    for _ in range(3):
        assert await organisations.find_organisation(catalog, "one") is not None
        assert await organisations.find_organisation(catalog, "two") is None
    assert len(statements) == 2
    await catalog.run(create, "two")
    assert await organisations.find_organisation(catalog, "two") is not None


async def test_a_point_read_is_never_older_than_what_its_caller_was_told(catalog):
    """Many write and read at once: whoever was told of a commit reads what it wrote, whatever the others asked."""
    stop = asyncio.Event()

    async def ask_all_the_time() -> None:
        while not stop.is_set():
            for number in range(40):
                await organisations.find_organisation(catalog, f"name {number}")
            await asyncio.sleep(0)

    async def write_and_read(number: int) -> None:
        assert await organisations.find_organisation(catalog, f"name {number}") is None
        await catalog.run(create, f"name {number}")
        assert await organisations.find_organisation(catalog, f"name {number}") is not None

    asking = asyncio.create_task(ask_all_the_time())
    await asyncio.gather(*(write_and_read(number) for number in range(40)))
    stop.set()
    await asking


async def test_what_is_remembered_of_reads_is_bounded(catalog, monkeypatch):
    monkeypatch.setattr("mediavault.catalog.sqlite._MOST_REMEMBERED", 8)
    for number in range(50):
        await organisations.find_organisation(catalog, f"name {number}")
        assert len(catalog._remembered) <= 8


async def test_a_closed_catalog_repeats_nothing(path):
    catalog = await open_catalog(CatalogConfig(f"sqlite:///{path}"))
    assert await organisations.find_organisation(catalog, "one") is None
    await catalog.close()
    with pytest.raises(CatalogError):
        await organisations.find_organisation(catalog, "one")
