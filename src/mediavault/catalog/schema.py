"""Brings a database to the schema this program knows, by Alembic's one tree of migrations for both engines."""

import asyncio
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from mediavault.catalog import sqlite
from mediavault.errors import CatalogError, CatalogUnavailable, ConfigError, SchemaTooNew

_MIGRATIONS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x6D656469  # two processes starting at once migrate one after the other


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def head() -> str:
    """The schema this program knows."""
    return str(ScriptDirectory(str(_MIGRATIONS)).get_current_head())


def upgrade(connection: Connection) -> None:
    """Run the migrations this database lacks, in one transaction. Raises SchemaTooNew."""
    config = _config(connection)
    script = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
        raise SchemaTooNew(f"the database's schema {current} is newer than this program's {script.get_current_head()}")
    if current != script.get_current_head():
        command.upgrade(config, "head")


async def upgrade_sqlite(path: Path) -> None:
    """Upgrade a SQLite file; made when it is missing. Raises SchemaTooNew, CatalogError."""
    await asyncio.to_thread(_upgrade_sqlite, path)


def _upgrade_sqlite(path: Path) -> None:
    engine = create_engine(
        "sqlite://", module=sqlite.driver, creator=lambda: sqlite.connect(path, writes=True), poolclass=NullPool
    )
    try:
        path.touch(mode=0o600)
        path.chmod(0o600)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")  # a table that is rebuilt is dropped for a moment
            # By itself the driver would begin no transaction for DDL, and a crash would leave half a schema for good.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            upgrade(connection)
            connection.commit()
    except (SQLAlchemyError, sqlite.driver.Error, OSError) as error:
        raise _translated("SQLite", error) from error


async def upgrade_postgres(url: str) -> None:
    """Upgrade a PostgreSQL database. Raises SchemaTooNew, CatalogError, ConfigError."""
    import asyncpg
    from sqlalchemy.ext.asyncio import create_async_engine

    from mediavault.catalog.postgres import unconnected

    try:
        driven = await asyncpg.connect(url)
    except ValueError as error:
        raise ConfigError(f"the database URL cannot be used: {error}") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise unconnected(error) from error

    async def connected() -> Any:
        return driven

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connected, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            await connection.run_sync(upgrade)
    except SQLAlchemyError as error:
        raise _translated("PostgreSQL", error) from error
    finally:
        await engine.dispose()


def _translated(engine: str, error: Exception) -> CatalogError:
    may_pass = isinstance(error, OperationalError | InterfaceError | sqlite.driver.OperationalError | OSError)
    return (CatalogUnavailable if may_pass else CatalogError)(f"{engine}: {error}")


def differences(connection: Connection) -> list[Any]:
    """What the migrations' outcome and `tables.py` disagree on; empty when they agree."""
    from alembic.autogenerate import compare_metadata

    from mediavault.catalog.tables import metadata

    return list(compare_metadata(MigrationContext.configure(connection), metadata))
