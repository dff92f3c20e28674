"""A catalog as of one moment in a SQLite file of its own, whatever its engine; and such a file made a catalog again.

SQLite copies itself in one step, beside whoever writes. PostgreSQL is read in one REPEATABLE READ transaction, row by
row: so a backup needs no program of the server's version, has one form, and goes back to either engine.
"""

import asyncio
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Boolean, Table, bindparam, insert, null, select, update
from sqlalchemy.dialects import sqlite as dialect

from mediavault.catalog import holds, schema, sqlite, transitions
from mediavault.catalog.database import Catalog, CatalogConfig, sqlite_path
from mediavault.catalog.operations import Compiler, Do, DoMany, Operation, Row, Rows
from mediavault.catalog.tables import (
    EndpointState,
    blobs,
    installation,
    is_in,
    metadata,
    variants,
    webhook_deliveries,
    webhook_endpoints,
)
from mediavault.catalog.visiting import visit_catalog
from mediavault.domain.lifecycle import Event, Status
from mediavault.errors import CatalogError, CatalogUnavailable, Conflict

_BATCH = 500
_TABLES: tuple[Table, ...] = tuple(metadata.sorted_tables)  #: those that are referred to before those that refer
_READ = tuple(select(*table.c) for table in _TABLES)
_ADD = tuple(insert(table).values({column: bindparam(column.name) for column in table.c}) for table in _TABLES)
_ANY = tuple(select(table.c[0]).limit(1) for table in _TABLES)

#: Added to every fence of a restored catalog: nobody's claim from before the restore is ever current again.
_FENCES_APART = 1_000_000
_RESTORED = "restored:"
_STORING = (
    select(variants.c.id, variants.c.fence).where(is_in(variants.c.status, Status.STORING)).order_by(variants.c.id)
)
_RAISE_FENCES = update(variants).values(fence=variants.c.fence + _FENCES_APART)
_FORGET_PLACES = update(blobs).where(blobs.c.place.is_not(None)).values(place=null())
_FREE_DELIVERIES = update(webhook_deliveries).where(webhook_deliveries.c.lease_until > 0).values(lease_until=0)
_DISABLE = (
    update(webhook_endpoints)
    .where(webhook_endpoints.c.state == EndpointState.ENABLED.value)
    .values(state=EndpointState.DISABLED.value, disabled_reason="the vault was restored from a backup")
)
_FACT = select(installation.c.name).where(installation.c.name == bindparam("name"))
_ADD_FACT = insert(installation).values(name=bindparam("name"), content=b"")


async def take(config: CatalogConfig, target: Path) -> None:
    """Write the catalog as it is now to a new file. Raises ConfigError for another schema, CatalogError."""
    path = sqlite_path(config.url)
    source = await visit_catalog(config)  # of this program's schema, or refused
    try:
        if path is not None:
            await asyncio.to_thread(_copy_sqlite, path, target)
        else:
            await _copy_postgres(source, target)
    finally:
        await source.close()


def _copy_sqlite(path: Path, target: Path) -> None:
    try:
        source = sqlite.driver.connect(sqlite.read_only_uri(path), uri=True)
        try:
            copy = sqlite.driver.connect(str(target))
            try:
                source.backup(copy)
                _make_plain(copy)
            finally:
                copy.close()
        finally:
            source.close()
    except sqlite.driver.Error as error:
        raise CatalogUnavailable(f"SQLite: {error}") from error
    _close_off(target)


def _make_plain(db: Any) -> None:
    """One file, without the other two of a WAL."""
    db.execute("PRAGMA journal_mode=DELETE")


def _close_off(target: Path) -> None:
    target.chmod(0o600)
    fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


async def _copy_postgres(source: Any, target: Path) -> None:
    await schema.upgrade_sqlite(target)
    compile_ = Compiler(dialect.dialect(paramstyle="qmark"))
    db = sqlite.connect(target, writes=True)
    try:
        db.execute("PRAGMA foreign_keys=OFF")  # checked as a whole, below
        db.execute("BEGIN")

        async def add(number: int, rows: Rows) -> None:
            compiled, names = compile_(_ADD[number]), _TABLES[number].c.keys()
            many = [compiled.arguments(dict(zip(names, row, strict=True))) for row in rows]
            await asyncio.to_thread(_add_rows, db, compiled.sql, many)

        await source.read_at_once(_READ, add, _BATCH)
        db.execute("COMMIT")
        _make_plain(db)
    except sqlite.driver.Error as error:
        raise CatalogError(f"SQLite: {error}") from error
    finally:
        db.close()
    _close_off(target)


def _add_rows(db: Any, sql: str, rows: Sequence[Sequence[Any]]) -> None:
    """Closed in the thread that ran it: a cursor that ends anywhere else resets the statement under the next rows."""
    db.executemany(sql, rows).close()


def faults(path: Path) -> list[str]:
    """What SQLite finds wrong with a snapshot: damaged pages, and rows that refer to nothing. Blocks."""
    try:
        db = sqlite.driver.connect(sqlite.read_only_uri(path), uri=True)
        try:
            found = [str(row[0]) for row in db.execute("PRAGMA integrity_check(20)") if row[0] != "ok"]
            found += [f"a row of {row[0]} refers to none of {row[2]}" for row in db.execute("PRAGMA foreign_key_check")]
        finally:
            db.close()
    except sqlite.driver.Error as error:
        return [f"it is no database: {error}"]
    return found


async def restore(config: CatalogConfig, snapshot: Path, name: str) -> None:
    """Make a catalog of a snapshot: a new file, or the rows of an empty database. Raises Conflict, CatalogError.

    May be repeated: what was restored from the same snapshot before stays.
    """
    path = sqlite_path(config.url)
    if path is not None:
        await asyncio.to_thread(_place, snapshot, path)
        await schema.upgrade_sqlite(path)
        return
    plain = snapshot.with_name(f".{snapshot.name}.upgraded")
    try:
        await asyncio.to_thread(_place, snapshot, plain)
        await schema.upgrade_sqlite(plain)
        await schema.upgrade_postgres(config.url)
        from mediavault.catalog.postgres import PostgresCatalog

        catalog = await PostgresCatalog.connect(config.url, 1)
        try:
            await catalog.run(_load, plain, name)
        finally:
            await catalog.close()
    finally:
        for suffix in ("", "-wal", "-shm"):
            plain.with_name(plain.name + suffix).unlink(missing_ok=True)


def _place(snapshot: Path, path: Path) -> None:
    unfinished = path.with_name(f".{path.name}.unfinished")
    shutil.copyfile(snapshot, unfinished)
    _close_off(unfinished)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    unfinished.rename(path)


def _load(path: Path, name: str) -> Operation[None]:
    """Every row of a snapshot, in one transaction. It reads the file anew each time that it is driven."""
    if (yield Do(_FACT, {"name": _RESTORED + name})):
        return
    for table, statement in zip(_TABLES, _ANY, strict=True):
        if (yield Do(statement)):
            raise Conflict(f"the database has rows in {table.name} already: restore into an empty one")
    for number, table in enumerate(_TABLES):
        for rows in _rows_of(path, number):
            yield DoMany(_ADD[number], [_typed(table, row) for row in rows])
    yield Do(_ADD_FACT, {"name": _RESTORED + name})


def _rows_of(path: Path, number: int) -> Iterator[Rows]:
    db = sqlite.driver.connect(sqlite.read_only_uri(path), uri=True)
    try:
        cursor = db.execute(str(_READ[number].compile(dialect=dialect.dialect())))
        while rows := cursor.fetchmany(_BATCH):
            yield rows
    finally:
        db.close()


def _typed(table: Table, row: Row) -> dict[str, Any]:
    """SQLite has no booleans."""
    return {
        column.name: bool(value) if isinstance(column.type, Boolean) and value is not None else value
        for column, value in zip(table.c, row, strict=True)
    }


def as_restored(now: int, *, other_places: bool, disable_webhooks: bool) -> Operation[int]:
    """What is true of a restored catalog no longer: leases, holds, where blobs lay. How many stores were under way.

    What waits for a webhook is told again under the ids that it had; or, with `disable_webhooks`, nobody is told.
    """
    yield from holds.release_all()
    storing = yield Do(_STORING)
    for variant_id, fence in storing:
        yield from transitions.apply(
            variant_id, Event.RELEASED, at=now, fence=fence, reason="restored from a backup", run_at=now
        )
    yield Do(_RAISE_FENCES)
    yield Do(_FREE_DELIVERIES)
    if other_places:
        yield Do(_FORGET_PLACES)
    if disable_webhooks:
        yield Do(_DISABLE)
    return len(storing)


async def finish(catalog: Catalog, name: str, now: int, *, other_places: bool, disable_webhooks: bool) -> int:
    """Do that once to what was restored from a snapshot."""
    return await catalog.run(_finish, name, now, other_places=other_places, disable_webhooks=disable_webhooks)


def _finish(name: str, now: int, *, other_places: bool, disable_webhooks: bool) -> Operation[int]:
    done = f"{_RESTORED}{name}:finished"
    if (yield Do(_FACT, {"name": done})):
        return 0
    storing = yield from as_restored(now, other_places=other_places, disable_webhooks=disable_webhooks)
    yield Do(_ADD_FACT, {"name": done})
    return storing
