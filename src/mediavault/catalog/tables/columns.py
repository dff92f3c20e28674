"""What the tables share: byte-ordered text, enums as CHECKs, partial indexes for both engines."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, Column, ColumnElement, Index, MetaData, Text, literal_column, text

#: Text that sorts by its bytes on both engines.
ByteText = Text().with_variant(Text(collation="C"), "postgresql")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    """The column holds a member of the enum."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(str(value)) for value in values)})", name=column)


def is_in(column: Column[str], state: StrEnum) -> ColumnElement[bool]:
    """The column has that value, written out: a planner cannot match a parameter with a partial index."""
    return column == literal_column(f"'{state.value}'")


def partial_index(name: str, where: str, *columns: Column[object], unique: bool = False) -> Index:
    """An index of the rows for which `where` holds."""
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))
