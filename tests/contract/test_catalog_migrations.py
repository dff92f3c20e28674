"""The schema: what the migrations make is what `tables.py` says, on both engines, whoever starts when."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from mediavault.catalog import schema
from mediavault.catalog.database import CatalogConfig, open_catalog, sqlite_path
from mediavault.catalog.sqlite import driver
from mediavault.catalog.tables import metadata
from mediavault.errors import CatalogError, CatalogUnavailable, ConfigError, SchemaTooNew


async def on_database(url: str, work: Any) -> Any:
    """What `work` gives of a synchronous SQLAlchemy connection, committed."""
    path = sqlite_path(url)
    if path is not None:
        engine = create_engine(f"sqlite:///{path}", module=driver, poolclass=NullPool)
        with engine.begin() as connection:
            return work(connection)
    asynchronous = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"), poolclass=NullPool)
    async with asynchronous.begin() as connection:
        return await connection.run_sync(work)


def structure(connection: Connection) -> dict[str, Any]:
    """Everything of the schema that the engine can tell: columns, keys, checks, and indexes with their predicates."""
    found = inspect(connection)
    described: dict[str, Any] = {}
    for table in sorted(metadata.tables):
        described[table] = {
            "columns": {c["name"]: (str(c["type"]), c["nullable"]) for c in found.get_columns(table)},
            "primary key": found.get_pk_constraint(table),
            "foreign keys": sorted(str(key) for key in found.get_foreign_keys(table)),
            "unique": sorted(str(key) for key in found.get_unique_constraints(table)),
            "checks": {check["name"]: check["sqltext"] for check in found.get_check_constraints(table)},
        }
    if connection.dialect.name == "postgresql":
        listed = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    else:
        listed = "SELECT name, sql FROM sqlite_master WHERE type = 'index'"
    indexes = dict(tuple(row) for row in connection.execute(text(listed)))
    described["indexes"] = {name: sql for name, sql in indexes.items() if "alembic" not in name}
    return described


async def upgrade(url: str) -> None:
    path = sqlite_path(url)
    await (schema.upgrade_postgres(url) if path is None else schema.upgrade_sqlite(path))


async def test_the_migrations_make_what_the_tables_say(database_url):
    await upgrade(database_url)
    assert await on_database(database_url, schema.differences) == []
    migrated = await on_database(database_url, structure)

    def rebuilt(connection: Connection) -> dict[str, Any]:
        metadata.drop_all(connection)
        metadata.create_all(connection)
        return structure(connection)

    assert await on_database(database_url, rebuilt) == migrated


async def test_a_difference_is_noticed(database_url):
    await upgrade(database_url)
    await on_database(database_url, lambda connection: connection.execute(text("DROP INDEX ix_variants_pending")))
    assert len(await on_database(database_url, schema.differences)) == 1


async def test_an_upgrade_of_what_is_up_to_date_changes_nothing(database_url):
    await upgrade(database_url)
    before = await on_database(database_url, structure)
    await upgrade(database_url)
    assert await on_database(database_url, structure) == before


async def test_a_newer_schema_is_refused_and_left_alone(database_url):
    await upgrade(database_url)

    def age(connection: Connection) -> None:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(text("INSERT INTO organisations VALUES ('o', 'kept', '{}', 0, 1)"))

    await on_database(database_url, age)
    before = await on_database(database_url, structure)
    with pytest.raises(SchemaTooNew, match="9999"):
        await open_catalog(CatalogConfig(database_url))
    assert await on_database(database_url, structure) == before
    kept = await on_database(database_url, lambda c: c.execute(text("SELECT name FROM organisations")).scalars().all())
    assert kept == ["kept"]
    versions = await on_database(database_url, lambda c: c.execute(text("SELECT * FROM alembic_version")).all())
    assert [tuple(version) for version in versions] == [("9999",)]


@pytest.mark.postgres
async def test_two_that_start_at_once_on_an_empty_database_both_succeed(postgres_database):
    first, second = await asyncio.gather(
        *(open_catalog(CatalogConfig(postgres_database, pool_size=1)) for _ in range(2))
    )
    await asyncio.gather(first.close(), second.close())
    assert await on_database(postgres_database, schema.differences) == []


async def test_a_migration_that_fails_half_way_leaves_nothing_behind(database_url, monkeypatch):
    """The next start must find the schema it left, not half of the next one."""
    if sqlite_path(database_url) is None:
        await on_database(database_url, lambda connection: connection.execute(text("DROP TABLE alembic_version")))
        await on_database(database_url, lambda connection: metadata.drop_all(connection))
    await on_database(database_url, lambda connection: connection.execute(text("CREATE TABLE variants (mine TEXT)")))
    with pytest.raises(CatalogError):
        await upgrade(database_url)
    tables = await on_database(database_url, lambda connection: inspect(connection).get_table_names())
    assert tables == ["variants"]
    await on_database(database_url, lambda connection: connection.execute(text("DROP TABLE variants")))
    await upgrade(database_url)
    assert await on_database(database_url, schema.differences) == []


async def test_a_file_that_is_no_database_is_refused_for_good(tmp_path):
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(CatalogError) as refused:
        await open_catalog(CatalogConfig(f"sqlite:///{path}"))
    assert not isinstance(refused.value, CatalogUnavailable)
    assert path.read_bytes() == b"something else entirely" * 100


@pytest.mark.parametrize("name", ["what?", "100%", "a#b", "mode=memory&", "späte Liste"])
async def test_a_folder_may_have_any_name(tmp_path, name):
    path = tmp_path / name / "catalog.sqlite"
    catalog = await open_catalog(CatalogConfig(f"sqlite:///{path}"))
    await catalog.close()
    assert [found.name for found in path.parent.iterdir()] == ["catalog.sqlite"]
    assert [found.name for found in tmp_path.iterdir()] == [name]


async def test_nobody_else_may_read_the_file(tmp_path):
    path = tmp_path / "new" / "catalog.sqlite"
    catalog = await open_catalog(CatalogConfig(f"sqlite:///{path}"))
    assert {found.stat().st_mode & 0o077 for found in path.parent.iterdir()} == {0}
    await catalog.close()


async def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="file"):
        await open_catalog(CatalogConfig(f"sqlite:///{tmp_path / 'file' / 'catalog.sqlite'}"))


async def test_a_place_that_is_a_folder_is_a_clear_error(tmp_path):
    with pytest.raises(CatalogError):
        await open_catalog(CatalogConfig(f"sqlite:///{tmp_path}"))


@pytest.mark.parametrize("url", ["mysql://127.0.0.1/x", "", "catalog.sqlite", "sqlite:/x", "sqlite:///"])
async def test_an_engine_that_is_none_of_ours_is_refused(url):
    with pytest.raises(ConfigError):
        await open_catalog(CatalogConfig(url))


def test_the_file_stays_readable_for_the_standard_library(tmp_path: Path):
    """Backups and rescue must not need our driver."""
    path = tmp_path / "catalog.sqlite"
    asyncio.run(schema.upgrade_sqlite(path))
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
