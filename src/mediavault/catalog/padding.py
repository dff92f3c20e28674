"""Up to a hundred ids as the parameters of one constant statement: statements are compiled once, by their identity."""

from collections.abc import Iterator, Sequence

from sqlalchemy import Column, ColumnElement, bindparam

#: So many ids at most are in one statement.
AT_ONCE = 100

_NAMES = [f"among{position}" for position in range(AT_ONCE)]


def is_among(column: Column[str]) -> ColumnElement[bool]:
    """The column holds one of the ids that `padded` gives the statement."""
    return column.in_([bindparam(name) for name in _NAMES])


def padded(ids: Sequence[str]) -> dict[str, str]:
    """One to AT_ONCE ids as the values of a statement; the last one fills the places that are left."""
    return dict(zip(_NAMES, [*ids, *[ids[-1]] * (AT_ONCE - len(ids))], strict=True))


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """The ids, so many at a time."""
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]
