"""Catalog operations: generators that yield statements and are sent rows.

An operation does no I/O, so the same one is driven by SQLite's writer thread,
where many share one commit, and by asyncpg, one transaction each. It may be
driven more than once (a deadlock undoes the first try), so it has no effect
but its statements.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, TypeVar, cast

from sqlalchemy import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from mediavault.errors import CatalogError

T = TypeVar("T")
Row = Sequence[Any]
Rows = Sequence[Row]
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Do:
    """One statement, a module-level constant with bind parameters, and their values."""

    statement: ClauseElement
    values: Values = field(default_factory=dict)


@dataclass(frozen=True)
class DoMany:
    """One statement for many rows of values; it returns no rows."""

    statement: ClauseElement
    values: Sequence[Values]


Operation = Generator[Do | DoMany, Rows, T]


class Compiled:
    """SQL text and the order of its parameters."""

    def __init__(self, statement: ClauseElement, dialect: Any) -> None:
        compiled = cast("SQLCompiler", statement.compile(dialect=dialect))
        self.sql = str(compiled)
        self._names = compiled.positiontup or []
        self._defaults = compiled.params

    def arguments(self, values: Values) -> list[Any]:
        """The values in the statement's order.

        Raises CatalogError for a value that not both engines can hold, and KeyError for a name that has none.
        """
        return [_checked(name, values[name]) if name in values else self._default(name) for name in self._names]

    def _default(self, name: str) -> Any:
        if self._defaults[name] is None and not name.rpartition("_")[2].isdigit():
            raise KeyError(f"no value for {name} in {self.sql}")
        return self._defaults[name]


_BIGINT = range(-(2**63), 2**63)


def _checked(name: str, value: Any) -> Any:
    """The value, if it comes back from either engine as it went in.

    SQLite takes NUL in text and reads NaN as NULL, PostgreSQL refuses the one and keeps the other; lone surrogates and
    long integers each driver refuses in its own way.
    """
    if isinstance(value, str):
        holdable = "\0" not in value and (value.isascii() or _is_unicode(value))
    elif isinstance(value, int):
        holdable = value in _BIGINT
    else:
        holdable = not isinstance(value, float) or isfinite(value)
    if not holdable:
        raise CatalogError(f"the value for {name} cannot be kept in the database")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Compiler:
    """Compiles each statement once for one dialect."""

    def __init__(self, dialect: Any) -> None:
        self._dialect = dialect
        self._compiled: dict[ClauseElement, Compiled] = {}

    def __call__(self, statement: ClauseElement) -> Compiled:
        """The statement's SQL. Statements hash by identity, so they must be constants."""
        compiled = self._compiled.get(statement)
        if compiled is None:
            compiled = self._compiled[statement] = Compiled(statement, self._dialect)
        return compiled
