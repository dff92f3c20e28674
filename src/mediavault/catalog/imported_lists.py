"""Lists that an import brings, and what is in them: added to what is known, which stays."""

from collections.abc import Sequence

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import insert  # both engines speak its ON CONFLICT

from mediavault.catalog.identifiers import new_id
from mediavault.catalog.operations import Do, DoMany, Operation
from mediavault.catalog.padding import chunks, is_among, padded
from mediavault.catalog.tables import list_items, lists, media
from mediavault.domain.exported import ExportedList, ExportedMember

_LIST = ("id", "org_id", "connection_id", "list_id", "name", "type", "created_at", "last_added_at", "last_synced_at")
_ADD_LIST = (
    insert(lists)
    .values({lists.c[name]: bindparam(name) for name in _LIST})
    .on_conflict_do_nothing(index_elements=["connection_id", "list_id"])
)
_FIND_LISTS = select(lists.c.list_id, lists.c.id).where(
    lists.c.org_id == bindparam("org_id"), lists.c.connection_id == bindparam("connection_id")
)
_FIND_MEDIA = select(media.c.media_id, media.c.id).where(
    media.c.org_id == bindparam("org_id"),
    media.c.connection_id == bindparam("connection_id"),
    is_among(media.c.media_id),
)
_MEMBER = ("list_pk", "media_pk", "org_id", "first_added_at", "last_added_at", "last_seen_at", "last_synced_at")
_ADD_MEMBER = (
    insert(list_items)
    .values(
        {list_items.c[name]: bindparam(name) for name in _MEMBER}
        # No part of a baseline: the next sync removes nothing for want of it.
        | {list_items.c.in_baseline: False, list_items.c.fingerprint: ""}
    )
    .on_conflict_do_nothing(index_elements=["list_pk", "media_pk"])
)


def add_lists(org_id: str, connection_id: str, given: Sequence[ExportedList], now: int) -> Operation[None]:
    """Lists that are not cached yet."""
    rows = [
        {
            "id": new_id(now),
            "org_id": org_id,
            "connection_id": connection_id,
            "list_id": each.id,
            "name": each.name,
            "type": each.type,
            "created_at": min(each.created_at, now),
            "last_added_at": each.last_added_at,
            "last_synced_at": each.last_synced_at,
        }
        for each in given
    ]
    if rows:
        yield DoMany(_ADD_LIST, rows)


def add_members(org_id: str, connection_id: str, given: Sequence[ExportedMember]) -> Operation[int]:
    """What is in lists, of the media that are known; how many of those. What is known of a membership stays."""
    tenant = {"org_id": org_id, "connection_id": connection_id}
    pks = {row[0]: row[1] for row in (yield Do(_FIND_LISTS, tenant))}
    found: dict[str, str] = {}
    for ids in chunks([each.media_id for each in given]):
        found |= {row[0]: row[1] for row in (yield Do(_FIND_MEDIA, {**tenant, **padded(ids)}))}
    rows = [
        {
            "list_pk": pks[each.list_id],
            "media_pk": found[each.media_id],
            "org_id": org_id,
            "first_added_at": each.first_added_at,
            "last_added_at": each.last_added_at,
            "last_seen_at": each.last_seen_at,
            "last_synced_at": each.last_synced_at,
        }
        for each in given
        if each.list_id in pks and each.media_id in found
    ]
    if rows:
        yield DoMany(_ADD_MEMBER, rows)
    return len(rows)
