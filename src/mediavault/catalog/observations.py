"""Writes what was seen upstream: media and their variants, new ones as `edge_only`.

Seeing a variant again refreshes its origin URL; a URL that changed clears the failure of the old one and lets a
waiting store run at once. Seeing a removed one brings it back as `edge_only`.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from sqlalchemy import bindparam, case, null, select, update
from sqlalchemy.dialects.postgresql import insert  # both engines speak its ON CONFLICT

from mediavault.catalog import derivations, rollups, row_locks, transitions, usage
from mediavault.catalog.identifiers import new_id
from mediavault.catalog.known_media import (
    WORTH_PROLONGING,
    Known,
    Part,
    VariantIds,
    find_known,
    touched_media,
)
from mediavault.catalog.operations import Do, DoMany, Operation
from mediavault.catalog.padding import AT_ONCE, is_among, padded
from mediavault.catalog.seen import SeenMedia, SeenVariant, joined
from mediavault.catalog.tables import media, variants
from mediavault.domain.lifecycle import INITIAL, Event, Status
from mediavault.domain.media import MediaType, overall_type
from mediavault.errors import LostRace

_ADD_MEDIA = (
    insert(media)
    .values({column: bindparam(column.name) for column in media.c if not column.name.startswith("pin")})
    .on_conflict_do_nothing(index_elements=["connection_id", "media_id"])
)
_GIVEN = ("id", "org_id", "connection_id", "media_pk", "label", "content_type", "origin_url", "origin_key")
_GIVEN_TIMES = ("origin_expires_at", "observed_path", "created_at", "changed_at", "last_accessed_at", "run_at")
_ZEROES = ("size_bytes", "access_count", "attempts", "crashes", "not_before", "fence", "reserved_bytes")
_ADD_VARIANT = (
    insert(variants)
    .values(
        {variants.c[name]: bindparam(name) for name in (*_GIVEN, *_GIVEN_TIMES)}
        | {variants.c[name]: 0 for name in _ZEROES}
        | {variants.c.status: INITIAL.value}
    )
    .on_conflict_do_nothing(index_elements=["media_pk", "label"])
)
_LOCK_MEDIA = (
    select(media.c.media_id, media.c.type, media.c.duration, media.c.sources)
    .where(
        media.c.org_id == bindparam("org_id"),
        media.c.connection_id == bindparam("connection_id"),
        is_among(media.c.media_id),
    )
    .order_by(media.c.media_id)
    .with_for_update(key_share=True)
)
_TOUCH_MEDIA = (
    update(media)
    .where(media.c.id == bindparam("media_pk"))
    .values(
        type=bindparam("set_type"),
        duration=bindparam("set_duration"),
        sources=bindparam("set_sources"),
    )
)
#: What a new URL changes: the failures of the old one are not its own, and a waiting store may run at once.
REFRESHED = {
    "origin_url": bindparam("set_url"),
    "origin_key": bindparam("set_key"),
    "origin_expires_at": bindparam("set_expires_at"),
    "observed_path": bindparam("set_path"),
    "not_before": 0,
    "attempts": 0,
    "crashes": 0,
    "last_error": null(),
    "run_at": case((variants.c.status == Status.PENDING.value, bindparam("now")), else_=variants.c.run_at),
}
_REFRESH = update(variants).where(variants.c.id == bindparam("variant_id")).values(REFRESHED)
_PROLONG = (
    update(variants)
    .where(
        variants.c.id == bindparam("variant_id"),
        variants.c.origin_key == bindparam("of_key"),
        variants.c.origin_expires_at < bindparam("set_expires_at"),
    )
    .values(origin_expires_at=bindparam("set_expires_at"), observed_path=bindparam("set_path"))
)


def observe(org_id: str, connection_id: str, seen: Sequence[SeenMedia], now: int) -> Operation[VariantIds]:
    """Record everything seen; the ids of its variants."""
    parts = yield from add(org_id, connection_id, seen, now)
    return (yield from _refresh(org_id, connection_id, parts, now))


def add(org_id: str, connection_id: str, seen: Sequence[SeenMedia], now: int) -> Operation[list[Part]]:
    """Add what is new of everything seen; the rest of it is recorded by `refresh_as_it_is`."""
    tenant = {"org_id": org_id, "connection_id": connection_id}
    parts: list[Part] = []
    for chunk in _chunks(seen):
        parts.append((yield from _added(tenant, chunk, now)))
    return parts


def refresh_as_it_is(org_id: str, connection_id: str, parts: Sequence[Part], now: int) -> Operation[VariantIds]:
    """Record what was added and what was known before, as it is by now; the ids of its variants."""
    for part in parts:
        part.known = yield from find_known(org_id, connection_id, part.chunk)
    return (yield from _refresh(org_id, connection_id, parts, now))


def _refresh(org_id: str, connection_id: str, parts: Sequence[Part], now: int) -> Operation[VariantIds]:
    tenant = {"org_id": org_id, "connection_id": connection_id}
    # All that is new is there; what is known is held before any of it moves, and counted after that.
    changing = {row[0] for part in parts for row in part.changing()}
    yield from row_locks.hold(changing, {pk for part in parts for pk in part.touched()})
    for part in parts:
        for pk in part.enlarged:
            yield from rollups.hold_and_refresh(pk)
    if changing:  # before the counter, which the first move may take
        yield from usage.locked(connection_id)
    yield from usage.change(connection_id, live=sum(part.added for part in parts))
    ids: VariantIds = {}
    for part in parts:
        yield from _touch_media(tenant, part.known, part.chunk)
        yield from _refresh_variants(part.known, part.chunk, now)
        ids |= part.ids()
    return ids


def _chunks(seen: Sequence[SeenMedia]) -> Iterator[dict[str, SeenMedia]]:
    """By media id and label, in their order: two processes that see the same media lock rows in the same order."""
    merged: dict[str, SeenMedia] = {}
    for item in sorted(seen, key=lambda item: item.media_id):
        merged[item.media_id] = joined(merged.get(item.media_id, item), item)
    items = list(merged.items())
    for start in range(0, len(items), AT_ONCE):
        yield dict(items[start : start + AT_ONCE])


def _added(tenant: dict[str, str], chunk: dict[str, SeenMedia], now: int) -> Operation[Part]:
    org_id, connection_id = tenant["org_id"], tenant["connection_id"]
    known = yield from find_known(org_id, connection_id, chunk)
    new_media = [_media_row(tenant, item, now) for item in chunk.values() if item.media_id not in known]
    if new_media:
        yield DoMany(_ADD_MEDIA, new_media)
        known = yield from find_known(org_id, connection_id, chunk)
    new_variants = [
        _variant_row(tenant, known[item.media_id].pk, item, variant, now)
        for item in chunk.values()
        for variant in item.variants
        if variant.label not in known[item.media_id].variants
    ]
    added, enlarged = 0, []
    if new_variants:
        had_variants = {entry.pk for entry in known.values() if entry.variants}
        yield DoMany(_ADD_VARIANT, new_variants)
        known = yield from find_known(org_id, connection_id, chunk)
        offered = {str(row["id"]) for row in new_variants}
        for entry in known.values():
            ours = sum(variant[0] in offered for variant in entry.variants.values())
            added += ours
            if ours and entry.pk in had_variants:
                enlarged.append(entry.pk)
    return Part(chunk, known, added, enlarged)


def _media_row(tenant: dict[str, str], item: SeenMedia, now: int) -> dict[str, object]:
    shown_type = overall_type([seen.content_type for seen in item.variants], MediaType(item.type))
    return {
        **tenant,
        "id": new_id(now),
        "media_id": item.media_id,
        "type": item.type,
        "duration": item.duration,
        "duration_key": rollups.duration_key(shown_type, item.duration),
        "sources": item.source,
        "created_at": now,
        "status_mask": rollups.STATUS_BITS[INITIAL],
        "shown_type": shown_type.value,
        "cached_at": rollups.NONE,
    }


def _variant_row(tenant: dict[str, str], pk: str, item: SeenMedia, variant: SeenVariant, now: int) -> dict[str, object]:
    return {
        **tenant,
        "id": new_id(now),
        "media_pk": pk,
        "label": variant.label,
        "content_type": variant.content_type,
        "origin_url": variant.origin_url,
        "origin_key": variant.origin_key,
        "origin_expires_at": variant.origin_expires_at,
        "observed_path": item.observed_path,
        "created_at": now,
        "changed_at": now,
        "last_accessed_at": now,
        "run_at": now,
    }


def _touch_media(tenant: dict[str, str], known: dict[str, Known], chunk: dict[str, SeenMedia]) -> Operation[None]:
    """Add what the media were not known for. Locked first: two that add a source each must not lose one."""
    stale = [item.media_id for item in chunk.values() if touched_media(known[item.media_id], item)]
    if not stale:
        return
    for media_id, media_type, duration, sources in (yield Do(_LOCK_MEDIA, {**tenant, **padded(stale)})):
        entry = known[media_id]
        entry.type, entry.duration, entry.sources = media_type, duration, sources
    touched = [row for media_id in stale if (row := touched_media(known[media_id], chunk[media_id]))]
    yield DoMany(_TOUCH_MEDIA, touched)
    for row in touched:
        yield from rollups.refresh(str(row["media_pk"]))


def _refresh_variants(known: dict[str, Known], chunk: dict[str, SeenMedia], now: int) -> Operation[None]:
    """Bring the variants that were known before up to what is seen now."""
    refreshed: list[dict[str, object]] = []
    prolonged: list[dict[str, object]] = []
    replaced: list[str] = []  # derived thumbnails that have an origin from now on
    for item in chunk.values():
        for variant in item.variants:
            variant_id, status, origin_key, expires_at = known[item.media_id].variants[variant.label]
            if not origin_key and (yield from derivations.make_way(variant_id, now)):
                replaced.append(variant_id)
            if status == Status.REMOVED.value:
                yield from _bring_back(variant_id, now)
            row: dict[str, object] = {
                "variant_id": variant_id,
                "set_expires_at": variant.origin_expires_at,
                "set_path": item.observed_path,
            }
            if origin_key != variant.origin_key:
                refreshed.append(row | {"set_url": variant.origin_url, "set_key": variant.origin_key, "now": now})
            elif variant.origin_expires_at >= expires_at + WORTH_PROLONGING:
                prolonged.append(row | {"of_key": origin_key})
    if refreshed:
        yield DoMany(_REFRESH, refreshed)
    if prolonged:
        yield DoMany(_PROLONG, prolonged)
    for variant_id in replaced:
        yield from derivations.queue_origins(variant_id, now)


def _bring_back(variant_id: str, now: int) -> Operation[None]:
    """Seen again after its removal; another observer may have been quicker."""
    with suppress(LostRace):
        yield from transitions.apply(variant_id, Event.SEEN_AGAIN, at=now)
