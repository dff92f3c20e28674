"""The columns that hold sealed secrets, read and replaced a page at a time whatever is written meanwhile.

A ciphertext begins with what names its key. The pages go by id, so that a walk may end and begin again anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, LargeBinary, Select, Update, bindparam, func, select, update

from mediavault.catalog.database import Catalog
from mediavault.catalog.operations import Do, DoMany, Operation
from mediavault.catalog.tables import connections, installation, media, variants, webhook_endpoints

PREFIX_BYTES = 5  #: of a ciphertext, which name its key


@dataclass(frozen=True)
class SealedRow:
    """One ciphertext, and what of its row says where it lies."""

    id: str
    sealed: bytes
    place: tuple[str, ...]


class SealedColumn:
    """A column of ciphertexts, in pages: all of them, or those that begin with a prefix, or otherwise."""

    def __init__(self, column: Column[bytes], *place: Column[str], joined: Any = None, only: str = "") -> None:
        table: Any = column.table
        self.table, self.column = table.name, column.name
        (key,) = table.primary_key.columns
        begin = func.substr(column, 1, PREFIX_BYTES)
        query = select(key, column, *place).select_from(table if joined is None else joined)
        # What was wiped, or never was, is empty: there is nothing to open.
        filled = query.where(key > bindparam("after"), func.length(column) > 0).order_by(key).limit(bindparam("most"))
        if only:
            filled = filled.where(key == only)
        self.page: Select[Any] = filled
        self.page_otherwise: Select[Any] = filled.where(begin != _bytes("prefix"))
        self.page_beginning: Select[Any] = filled.where(begin == _bytes("prefix"))
        held: ColumnElement[bool] = column == _bytes("held")
        self.replace: Update = (
            update(table).where(key == bindparam("of_id"), held).values({column: _bytes("set_sealed")})
        )


def _bytes(name: str) -> Any:
    return bindparam(name, type_=LargeBinary)


_FACTS_BEGIN = "master_key"
MASTER_KEY_CHECK = "master_key_check"
CHECK = SealedColumn(installation.c.content, installation.c.name, only=MASTER_KEY_CHECK)
SESSIONS = SealedColumn(
    connections.c.session, connections.c.org_id, connections.c.upstream_base_url, connections.c.upstream_user_id
)
ORIGIN_URLS = SealedColumn(
    variants.c.origin_url,
    variants.c.org_id,
    variants.c.connection_id,
    media.c.media_id,
    variants.c.label,
    joined=variants.join(media, media.c.id == variants.c.media_pk),
)
WEBHOOK_SECRETS = SealedColumn(webhook_endpoints.c.secret, webhook_endpoints.c.org_id, webhook_endpoints.c.id)
PREVIOUS_WEBHOOK_SECRETS = SealedColumn(
    webhook_endpoints.c.previous_secret, webhook_endpoints.c.org_id, webhook_endpoints.c.id
)


async def all_after(catalog: Catalog, column: SealedColumn, after: str, most: int) -> list[SealedRow]:
    """A page of everything sealed in the column, by id."""
    return await _rows(catalog, column.page, {"after": after, "most": most})


async def sealed_otherwise(
    catalog: Catalog, column: SealedColumn, prefix: bytes, after: str, most: int
) -> list[SealedRow]:
    """A page of what does not begin so, by id."""
    return await _rows(catalog, column.page_otherwise, {"after": after, "most": most, "prefix": prefix})


async def is_any_sealed_so(catalog: Catalog, column: SealedColumn, prefix: bytes) -> bool:
    """Whether a ciphertext of the column begins so."""
    return bool(await _rows(catalog, column.page_beginning, {"after": "", "most": 1, "prefix": prefix}))


async def _rows(catalog: Catalog, statement: Select[Any], values: dict[str, Any]) -> list[SealedRow]:
    return [SealedRow(row[0], bytes(row[1]), tuple(row[2:])) for row in await catalog.fetch_list(statement, values)]


def replace(column: SealedColumn, rows: Sequence[tuple[SealedRow, bytes]]) -> Operation[None]:
    """Give each row its new ciphertext, unless it has another than was read."""
    yield DoMany(column.replace, [{"of_id": row.id, "held": row.sealed, "set_sealed": new} for row, new in rows])


_FACTS = select(installation.c.name, installation.c.content).where(
    installation.c.name >= _FACTS_BEGIN, installation.c.name < _FACTS_BEGIN + "~"
)
_FORGET = installation.delete().where(installation.c.name == bindparam("name"))


async def facts(catalog: Catalog) -> dict[str, bytes]:
    """What the installation notes of its master keys, by name."""
    return {name: bytes(content) for name, content in await catalog.fetch_list(_FACTS, {})}


def forget_facts(names: Sequence[str]) -> Operation[None]:
    """Forget some of that."""
    for name in names:
        yield Do(_FORGET, {"name": name})
