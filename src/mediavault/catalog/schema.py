"""Brings a database to the schema this program knows, by Alembic's one tree of migrations for both engines."""

import asyncio
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from mediavault.catalog.sqlite import driver
from mediavault.errors import CatalogUnavailable, SchemaTooNew

_MIGRATIONS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 0x6D656469  # two processes starting at once migrate one after the other


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    return config


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
    """Upgrade a SQLite file; made when it is missing. Raises SchemaTooNew, CatalogUnavailable."""
    await asyncio.to_thread(_upgrade_sqlite, path)


def _upgrade_sqlite(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}", module=driver, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            connection.execute(text("PRAGMA journal_mode=WAL"))
            connection.rollback()
            with connection.begin():
                upgrade(connection)
    except SQLAlchemyError as error:
        raise CatalogUnavailable(f"SQLite: {error}") from error
    path.chmod(0o600)


async def upgrade_postgres(url: str) -> None:
    """Upgrade a PostgreSQL database. Raises SchemaTooNew, CatalogUnavailable."""
    from sqlalchemy.ext.asyncio import create_async_engine

    _, _, rest = url.partition("://")
    engine = create_async_engine(f"postgresql+asyncpg://{rest}", poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            await connection.run_sync(upgrade)
    except (SQLAlchemyError, OSError) as error:
        raise CatalogUnavailable(f"PostgreSQL: {error}") from error
    finally:
        await engine.dispose()


def differences(connection: Connection) -> list[Any]:
    """What the migrations' outcome and `tables.py` disagree on; empty when they agree."""
    from alembic.autogenerate import compare_metadata

    from mediavault.catalog.tables import metadata

    return list(compare_metadata(MigrationContext.configure(connection), metadata))
