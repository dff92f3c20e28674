"""The catalog on PostgreSQL: each operation in a transaction of its own, on a connection of the pool."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import asyncpg
from sqlalchemy import ClauseElement
from sqlalchemy.dialects import postgresql

from mediavault.catalog.operations import Compiler, Do, DoMany, Operation, Rows, Values
from mediavault.errors import CatalogError, CatalogUnavailable

P = ParamSpec("P")
T = TypeVar("T")

_TRIES = 5
#: A process that is stopped or cut off in the middle of a transaction holds its rows no longer than this: while it
#: does, nobody can take back what it leases.
_SESSION = {"idle_in_transaction_session_timeout": "30s"}
_MAY_PASS = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a session that was ended while its connection lay in the pool
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.InvalidTransactionStateError,
    OSError,
    TimeoutError,
)


def translated(error: Exception) -> CatalogError:
    """Our error for the driver's: a value it refuses will be refused again, a lost connection may be back."""
    text = f"PostgreSQL: {str(error) or type(error).__name__}"
    if isinstance(error, ValueError) or not isinstance(error, _MAY_PASS):
        return CatalogError(text)
    return CatalogUnavailable(text)


def unconnected(error: Exception) -> CatalogError:
    """The same for a first connection, which may go to the wrong place."""
    failure = translated(error)
    return type(failure)(f"{failure}; does it run where MEDIAVAULT_DATABASE_URL says?")


class PostgresCatalog:
    """A catalog that many processes share."""

    shared = True
    commits = None

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._compile = Compiler(postgresql.asyncpg.dialect())  # type: ignore[no-untyped-call]  # SQLAlchemy's own stub gap

    @classmethod
    async def connect(cls, url: str, pool_size: int, *, read_only: bool = False) -> "PostgresCatalog":
        """Open the pool. Raises CatalogUnavailable. Who only reads may read for long."""
        settings = _SESSION | ({"default_transaction_read_only": "on"} if read_only else {})
        seconds = 3600 if read_only else 60
        try:
            pool = await asyncpg.create_pool(
                url, min_size=1, max_size=pool_size, command_timeout=seconds, server_settings=settings
            )
        except (*_MAY_PASS, asyncpg.PostgresError) as error:
            raise unconnected(error) from error
        return cls(pool)

    async def run(self, operation: Callable[P, Operation[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run and commit; any exception undoes it. A deadlock's victim is run again."""
        for attempt in range(_TRIES):
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    return await self._drive(connection, operation(*args, **kwargs))
            except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
                if attempt == _TRIES - 1:
                    raise CatalogUnavailable(f"PostgreSQL: {error}") from error
                await asyncio.sleep(0.01 * 2**attempt)
            except (*_MAY_PASS, asyncpg.PostgresError) as error:
                raise translated(error) from error
        raise AssertionError("unreachable")

    async def _drive(self, connection: Any, operation: Operation[T]) -> T:
        rows: Rows | None = None
        try:
            while True:
                do = operation.send(rows)  # type: ignore[arg-type]  # None starts a generator
                rows = await self._execute(connection, do)
        except StopIteration as done:
            result: T = done.value
            return result

    async def _execute(self, connection: Any, do: Do | DoMany) -> Rows:
        compiled = self._compile(do.statement)
        if isinstance(do, DoMany):
            await connection.executemany(compiled.sql, [compiled.arguments(values) for values in do.values])
            return ()
        rows: Rows = await connection.fetch(compiled.sql, *compiled.arguments(do.values))
        return rows

    async def read_at_once(
        self, statements: Sequence[ClauseElement], take: Callable[[int, Rows], Awaitable[None]], at_most: int
    ) -> None:
        """Read all of several statements as of one moment; `take` is given `(number of the statement, some rows)`."""
        try:
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                for number, statement in enumerate(statements):
                    cursor = await connection.cursor(self._compile(statement).sql)
                    while rows := await cursor.fetch(at_most):
                        await take(number, rows)
        except (*_MAY_PASS, asyncpg.PostgresError) as error:
            raise translated(error) from error

    async def fetch(self, statement: ClauseElement, values: Values) -> Rows:
        """Read outside any transaction."""
        compiled = self._compile(statement)
        try:
            rows: Rows = await self._pool.fetch(compiled.sql, *compiled.arguments(values))
        except (*_MAY_PASS, asyncpg.PostgresError) as error:
            raise translated(error) from error
        return rows

    async def fetch_list(self, statement: ClauseElement, values: Values) -> Rows:
        """The same: the server does the work."""
        return await self.fetch(statement, values)

    async def close(self) -> None:
        """Give the connections back."""
        await self._pool.close()
