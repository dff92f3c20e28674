"""Cursors: where a page ended, for the next one to go on. Opaque to clients, good for the same question only.

A cursor is base64url without padding of

    version 1 | digest of connection, order and filters 16 | sort key 8 (IEEE double) | media row's id 16

It carries no rights: every page is read inside the caller's connection whatever the cursor says. It is checked so that
a mistaken caller hears of it, and only the canonical encoding is taken.
"""

import base64
import struct
from dataclasses import dataclass
from math import isfinite

from mediavault.domain.media_query import MediaQuery, SortKey
from mediavault.errors import InvalidRequest

_VERSION = 1
_SHAPE = struct.Struct(">B16sd16s")
_KEYLESS = -1.0
_EXACT = 2.0**53  #: the largest whole number that a double surely holds


@dataclass(frozen=True)
class Position:
    """The last item of a page: its sort key, None where it has none, and its row's id."""

    key: int | float | None
    id: str  #: 32 hex digits


def write_cursor(position: Position, query: MediaQuery, connection_id: str) -> str:
    """The cursor that goes on after that position."""
    key = _KEYLESS if position.key is None else float(position.key)
    content = _SHAPE.pack(_VERSION, query.digest(connection_id), key, bytes.fromhex(position.id))
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def read_cursor(query: MediaQuery, connection_id: str) -> Position | None:
    """Where the query's cursor goes on; None at the beginning. Raises InvalidRequest."""
    if query.cursor is None:
        return None
    try:
        content = base64.b64decode(query.cursor + "=" * (-len(query.cursor) % 4), b"-_", validate=True)
        version, digest, key, row_id = _SHAPE.unpack(content)
    except (ValueError, struct.error):
        raise InvalidRequest("cursor is not one that an earlier page gave") from None
    position = Position(_key(query, key), row_id.hex())
    if version != _VERSION or digest != query.digest(connection_id):
        raise InvalidRequest("cursor belongs to another sort, filter or connection")
    if write_cursor(position, query, connection_id) != query.cursor:
        raise InvalidRequest("cursor is not one that an earlier page gave")
    return position


def _key(query: MediaQuery, key: float) -> int | float | None:
    """The sort key as its column has it. Raises InvalidRequest for one that no item can have."""
    sorts_by = query.sort.key
    if key == _KEYLESS and sorts_by is not SortKey.CREATED_AT:
        return None
    if not isfinite(key) or not 0 <= key <= _EXACT:
        raise InvalidRequest("cursor is not one that an earlier page gave")
    if sorts_by is SortKey.DURATION:
        return key
    if not key.is_integer():
        raise InvalidRequest("cursor is not one that an earlier page gave")
    return int(key)
