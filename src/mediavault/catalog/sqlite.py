"""The catalog on SQLite: one thread that writes, in group commits, and readers that cannot."""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import ClauseElement
from sqlalchemy.dialects import sqlite as dialect

from mediavault.catalog.operations import Compiler, Do, DoMany, Operation, Rows, Values
from mediavault.errors import CatalogError, CatalogUnavailable

try:
    from pysqlite3 import dbapi2 as sqlite3
except ImportError:  # no wheel for this platform: the caller warns when the library is an unsafe one
    import sqlite3

#: The driver in use, for whoever opens the file by other means.
driver = sqlite3

P = ParamSpec("P")
T = TypeVar("T")

_LARGEST_GROUP = 256
_BUSY_MS = 10_000
_LIST_READERS = 4
_MOST_REMEMBERED = 4096
Job = tuple[Callable[[], Operation[Any]], "asyncio.Future[Any]"]


def is_safe() -> bool:
    """Whether this SQLite is free of the bug that can corrupt a WAL when it is reset (3.7.0 to 3.51.2)."""
    return tuple(sqlite3.sqlite_version_info) > (3, 51, 2)


def connect(path: Path, *, writes: bool) -> Any:
    """A connection without implicit transactions. WAL with full syncs: a commit survives a power cut."""
    db = sqlite3.connect(str(path), isolation_level=None, check_same_thread=False, timeout=_BUSY_MS / 1000)
    db.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    if writes:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA foreign_keys=ON")
    else:
        db.execute("PRAGMA query_only=ON")
    return db


def read_only_uri(path: Path) -> str:
    """The file as it is opened to be read only, with `uri=True`."""
    quoted = str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file:{quoted}?mode=ro"


class SqliteCatalog:
    """A catalog in one file, for one process."""

    shared = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._compile = Compiler(dialect.dialect(paramstyle="qmark"))
        self._writer = _Writer(path, self._compile)
        self._reader = connect(path, writes=False)
        self._list_threads = ThreadPoolExecutor(_LIST_READERS, "catalog-reader")
        self._list_readers = threading.local()
        self._opened: list[Any] = [self._reader]
        self._remembered: dict[tuple[Any, ...], Rows] = {}
        self._remembered_at = self._writer.commits
        self._closed = False
        self._writer.start()

    @property
    def commits(self) -> int:
        """Nobody else writes: the data folder's lock sees to that."""
        return self._writer.commits

    async def run(self, operation: Callable[P, Operation[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Hand the operation to the writer; answered after the commit. Raises CatalogUnavailable once closed."""
        if self._closed:
            raise CatalogUnavailable("the catalog is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._writer.put((partial(operation, *args, **kwargs), future))
        return await future

    async def fetch(self, statement: ClauseElement, values: Values) -> Rows:
        """Read inline: 15 µs, a thread hop would double it; or repeat an answer since which nothing was committed."""
        commits = self._writer.commits  # before the rows are read: a commit meanwhile makes them old
        if commits != self._remembered_at or len(self._remembered) >= _MOST_REMEMBERED:
            self._remembered.clear()
            self._remembered_at = commits
        asked = (statement, *values.items())
        rows = self._remembered.get(asked)
        if rows is None:
            rows = self._remembered[asked] = _fetch(self._reader, self._compile, statement, values)
        return rows

    async def fetch_list(self, statement: ClauseElement, values: Values) -> Rows:
        """Read in a thread, on a connection of that thread."""
        if self._closed:
            raise CatalogUnavailable("the catalog is closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._list_threads, self._fetch_in_thread, statement, values)

    def _fetch_in_thread(self, statement: ClauseElement, values: Values) -> Rows:
        reader = getattr(self._list_readers, "connection", None)
        if reader is None:
            reader = self._list_readers.connection = connect(self._path, writes=False)
            self._opened.append(reader)
        return _fetch(reader, self._compile, statement, values)

    async def close(self) -> None:
        """Let the writer and the readers finish, then close; the last connection folds the WAL into the file."""
        self._closed = True
        self._remembered_at = -1
        await asyncio.to_thread(self._writer.stop)
        await asyncio.to_thread(self._list_threads.shutdown)
        for reader in self._opened:
            reader.close()
        self._writer.close()


def _fetch(db: Any, compile_: Compiler, statement: ClauseElement, values: Values) -> Rows:
    compiled = compile_(statement)
    try:
        rows: Rows = db.execute(compiled.sql, compiled.arguments(values)).fetchall()
    except sqlite3.Error as error:
        raise _translated(error) from error
    return rows


def _translated(error: Exception) -> CatalogError:
    if isinstance(error, sqlite3.OperationalError):
        return CatalogUnavailable(f"SQLite: {error}")
    return CatalogError(f"SQLite: {error}")


class _Writer(threading.Thread):
    """The one connection that writes. Waiting operations share a commit; each has its own savepoint."""

    def __init__(self, path: Path, compile_: Compiler) -> None:
        super().__init__(name="catalog-writer", daemon=True)
        self._db = connect(path, writes=True)
        self._compile = compile_
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        #: Grows before a commit can be seen by any reader, and again before anybody is told of it.
        self.commits = 0

    def put(self, job: Job) -> None:
        """Queue an operation for the next commit."""
        self._waiting.put(job)

    def stop(self) -> None:
        """Do what was queued before this call, then end."""
        self._waiting.put(None)
        self.join()

    def close(self) -> None:
        """Close the connection, after `stop`."""
        self._db.close()

    def run(self) -> None:
        """Take what waits, run it in one transaction, answer after the commit."""
        while True:
            group, last = self._next_group()
            if group:
                self._commit(group)
            if last:
                return

    def _next_group(self) -> tuple[list[Job], bool]:
        group: list[Job] = []
        while not group or (len(group) < _LARGEST_GROUP and not self._waiting.empty()):
            job = self._waiting.get()
            if job is None:
                return group, True
            group.append(job)
        return group, False

    def _commit(self, group: Sequence[Job]) -> None:
        outcomes: list[tuple[asyncio.Future[Any], Any]] = []
        try:
            self._db.execute("BEGIN IMMEDIATE")
            outcomes.extend((future, self._in_savepoint(operation)) for operation, future in group)
            self.commits += 1
            self._db.execute("COMMIT")
        except Exception as error:  # nothing of this group is durable: every caller must know, and the thread live on
            self._rollback()
            unavailable = CatalogUnavailable(f"SQLite: {error}")
            outcomes = [(future, unavailable) for _, future in group]
        self.commits += 1  # what was read between the two may be from before or after
        for future, outcome in outcomes:
            _deliver(future, outcome)

    def _rollback(self) -> None:
        with suppress(sqlite3.Error):  # the next BEGIN fails then, and rolls back once more
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _in_savepoint(self, operation: Callable[[], Operation[Any]]) -> Any:
        self._db.execute("SAVEPOINT operation")
        try:
            outcome = self._drive(operation())
        except sqlite3.Error as error:
            if not self._db.in_transaction:  # SQLite itself rolled back (disk full, I/O error): the group is lost
                raise
            outcome = _translated(error)
        except Exception as error:  # answered to the caller, who alone knows what it means
            outcome = error
        if isinstance(outcome, Exception):
            self._db.execute("ROLLBACK TO operation")
        self._db.execute("RELEASE operation")
        return outcome

    def _drive(self, operation: Operation[T]) -> T:
        rows: Rows | None = None
        try:
            while True:
                rows = self._execute(operation.send(rows))  # type: ignore[arg-type]  # None starts a generator
        except StopIteration as done:
            result: T = done.value
            return result

    def _execute(self, do: Do | DoMany) -> Rows:
        compiled = self._compile(do.statement)
        if isinstance(do, DoMany):
            self._db.executemany(compiled.sql, [compiled.arguments(values) for values in do.values])
            return ()
        rows: Rows = self._db.execute(compiled.sql, compiled.arguments(do.values)).fetchall()
        return rows


def _deliver(future: asyncio.Future[Any], outcome: Any) -> None:
    try:
        future.get_loop().call_soon_threadsafe(_answer, future, outcome)
    except RuntimeError:  # its loop has ended: nobody waits any more, the commit stands
        return


def _answer(future: asyncio.Future[Any], outcome: Any) -> None:
    if future.cancelled():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
