"""The two engines behind one small interface, and how a database URL chooses between them."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar

from sqlalchemy import ClauseElement

from mediavault.catalog.operations import Operation, Rows, Values
from mediavault.errors import ConfigError
from mediavault.folders import make_durable

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class CatalogConfig:
    """Where the catalog lies."""

    url: str  #: `sqlite:///absolute/path` or `postgresql://user@host/database`
    pool_size: int = 10  #: PostgreSQL connections held by this process


class Catalog(Protocol):
    """Runs operations and reads. `run` returns after the commit that holds the operation's changes."""

    #: Whether several processes may use this catalog at once.
    shared: bool

    @property
    def commits(self) -> int | None:
        """Grows with every commit: before a reader can see it, and again before its caller is told of it.

        None where other processes commit too.
        """
        ...

    async def run(self, operation: Callable[P, Operation[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one operation in a transaction of its own fate: its exception undoes it, and only it."""
        ...

    async def fetch(self, statement: ClauseElement, values: Values) -> Rows:
        """A point read: a few rows by an index. Inline on SQLite, where a thread would cost more than the read."""
        ...

    async def fetch_list(self, statement: ClauseElement, values: Values) -> Rows:
        """A read that may take long: never on the event loop."""
        ...

    async def close(self) -> None:
        """Finish what was handed in and let go of the database."""
        ...


def at_once(reading: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that never waits: the catalog of a single process reads inline."""
    try:
        reading.send(None)
    except StopIteration as read:
        return read.value  # type: ignore[no-any-return]
    reading.close()
    raise RuntimeError("the catalog made its reader wait")


def sqlite_path(url: str) -> Path | None:
    """The file behind a `sqlite:///` URL; None for another engine. Raises ConfigError for no engine of ours."""
    if url.startswith("sqlite:///") and url != "sqlite:///":
        return Path(url.removeprefix("sqlite:///"))
    if url.startswith(("postgresql://", "postgres://")):
        return None
    raise ConfigError(
        f"the database URL must be sqlite:///path or postgresql://user@host/database, not {url.partition(':')[0]!r}"
    )


async def open_catalog(config: CatalogConfig) -> Catalog:
    """Bring the schema up to date and open the catalog. Raises SchemaTooNew, CatalogUnavailable, ConfigError."""
    from mediavault.catalog import schema

    path = sqlite_path(config.url)
    if path is not None:
        from mediavault.catalog.sqlite import SqliteCatalog

        try:
            make_durable(path.parent, 0o700)  # else a power cut may take the catalog's name, and all that is in it
        except OSError as error:
            raise ConfigError(f"the database cannot lie in {path.parent}: {error.strerror}") from error
        await schema.upgrade_sqlite(path)
        return SqliteCatalog(path)
    try:
        from mediavault.catalog.postgres import PostgresCatalog
    except ImportError:
        raise ConfigError("PostgreSQL needs the extra: pip install 'mediavault[postgres]'") from None
    await schema.upgrade_postgres(config.url)
    return await PostgresCatalog.connect(config.url, config.pool_size)
