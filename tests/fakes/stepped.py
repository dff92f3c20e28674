"""Drives a catalog operation on PostgreSQL statement by statement, so that a test decides how two interleave."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
from sqlalchemy.dialects import postgresql

from mediavault.catalog.operations import Compiler, Do, DoMany, Operation

_compile = Compiler(postgresql.asyncpg.dialect())


class Stepped:
    """One operation in a transaction of its own that is not committed before `finish`."""

    def __init__(self, connection: Any, operation: Operation[Any]) -> None:
        self._connection = connection
        self._operation = operation
        self._next: Do | DoMany | None = next(operation, None)
        self.result: Any = None

    async def before(self, beginning: str) -> None:
        """Run up to the statement that begins like this, without it. Fails when there is none."""
        while self._next is not None:
            if _compile(self._next.statement).sql.startswith(beginning):
                return
            await self._step()
        raise AssertionError(f"no statement begins with {beginning!r}")

    async def past(self, beginning: str) -> None:
        """Run up to the statement that begins like this, and it too."""
        await self.before(beginning)
        await self._step()

    async def finish(self) -> Any:
        """Run the rest and commit; what the operation returns. Its exception undoes everything."""
        try:
            while self._next is not None:
                await self._step()
        except BaseException:
            await self._connection.execute("ROLLBACK")
            raise
        await self._connection.execute("COMMIT")
        return self.result

    async def _step(self) -> None:
        do = self._next
        assert do is not None
        compiled = _compile(do.statement)
        rows: Any = ()
        if isinstance(do, DoMany):
            await self._connection.executemany(compiled.sql, [compiled.arguments(values) for values in do.values])
        else:
            rows = await self._connection.fetch(compiled.sql, *compiled.arguments(do.values))
        try:
            self._next = self._operation.send(rows)
        except StopIteration as done:
            self._next, self.result = None, done.value


@contextlib.asynccontextmanager
async def stepped(url: str, operation: Operation[Any]) -> AsyncIterator[Stepped]:
    """An operation to be driven by hand."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN")
        yield Stepped(connection, operation)
    finally:
        await connection.close()


async def waiting_for_a_lock(url: str) -> bool:
    """Whether somebody in that database waits for a row another one holds."""
    connection = await asyncpg.connect(url)
    try:
        return bool(
            await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )
    finally:
        await connection.close()
