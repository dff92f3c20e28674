"""A catalog that only reads, beside whoever serves it: it takes no lock, migrates nothing and can change nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import ClauseElement, text
from sqlalchemy.dialects import sqlite as dialect

from mediavault.catalog import schema, sqlite
from mediavault.catalog.database import Catalog, CatalogConfig, sqlite_path
from mediavault.catalog.operations import Compiler, Operation, Rows, Values
from mediavault.errors import CatalogError, CatalogUnavailable, ConfigError

P = ParamSpec("P")
T = TypeVar("T")

_VERSION = text("SELECT version_num FROM alembic_version")


class VisitedSqlite:
    """A SQLite file that another process may be writing; each statement sees what was committed when it began."""

    shared = True
    commits = None

    def __init__(self, path: Path) -> None:
        try:
            self._db = sqlite.driver.connect(sqlite.read_only_uri(path), uri=True, check_same_thread=False)
            self._db.execute("PRAGMA query_only=ON")
            self._db.execute("PRAGMA busy_timeout=10000")
        except sqlite.driver.Error as error:
            raise CatalogUnavailable(f"SQLite: {error}") from error
        self._compile = Compiler(dialect.dialect(paramstyle="qmark"))

    async def run(self, operation: Callable[P, Operation[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """A visitor changes nothing."""
        del operation, args, kwargs
        raise CatalogError("the catalog is only visited")

    async def fetch(self, statement: ClauseElement, values: Values) -> Rows:
        """Read. Inline: whoever visits has nothing else to do meanwhile."""
        compiled = self._compile(statement)
        try:
            rows: Rows = self._db.execute(compiled.sql, compiled.arguments(values)).fetchall()
        except sqlite.driver.Error as error:
            raise CatalogUnavailable(f"SQLite: {error}") from error
        return rows

    async def fetch_list(self, statement: ClauseElement, values: Values) -> Rows:
        """The same."""
        return await self.fetch(statement, values)

    async def close(self) -> None:
        """Close the file."""
        self._db.close()


async def visit_catalog(config: CatalogConfig) -> Catalog:
    """Open a catalog for reading. Raises ConfigError where there is none of this program's schema."""
    path = sqlite_path(config.url)
    catalog: Catalog
    if path is not None:
        if not path.is_file():
            raise ConfigError(f"there is no catalog at {path}: name the vault's --data folder")
        catalog = VisitedSqlite(path)
    else:
        try:
            from mediavault.catalog.postgres import PostgresCatalog
        except ImportError:
            raise ConfigError("PostgreSQL needs the extra: pip install 'mediavault[postgres]'") from None
        catalog = await PostgresCatalog.connect(config.url, 2, read_only=True)
    try:
        await _require_schema(catalog)
    except BaseException:
        await catalog.close()
        raise
    return catalog


async def _require_schema(catalog: Catalog) -> None:
    try:
        versions: list[Any] = [row[0] for row in await catalog.fetch(_VERSION, {})]
    except CatalogError as error:
        raise ConfigError(f"the database holds no vault's catalog: {error}") from None
    if versions != [schema.head()]:
        found = ", ".join(versions) or "none"
        raise ConfigError(
            f"the catalog's schema is {found} and this program's {schema.head()}: "
            "verify with the program that serves it, or let `mediavault serve` bring it up to date first"
        )
