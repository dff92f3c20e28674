"""Writes what was seen upstream: media and their variants, new ones as `edge_only`.

Seeing a variant again refreshes its origin URL; a URL that changed clears the failure of the old one and lets a
waiting store run at once. Seeing a removed one brings it back as `edge_only`.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import bindparam, case, null, select, update
from sqlalchemy.dialects.postgresql import insert  # both engines speak its ON CONFLICT

from mediavault.catalog import derivations, rollups, transitions, usage
from mediavault.catalog.identifiers import new_id
from mediavault.catalog.operations import Do, DoMany, Operation, Row
from mediavault.catalog.padding import AT_ONCE, is_among, padded
from mediavault.catalog.seen import SeenMedia, SeenVariant, joined
from mediavault.catalog.tables import media, variants
from mediavault.domain.lifecycle import INITIAL, Event, Status
from mediavault.domain.media import MediaType, overall_type
from mediavault.domain.times import HOUR
from mediavault.errors import LostRace

#: A URL that tells no expiry is good for a while from its last observation; smaller gains are not worth a write.
_WORTH_PROLONGING = HOUR


#: `(media id, label)` to the variant's id.
VariantIds = dict[tuple[str, str], str]

_KNOWN = (
    select(
        media.c.media_id,
        media.c.id,
        media.c.type,
        media.c.duration,
        media.c.sources,
        variants.c.label,
        variants.c.id,
        variants.c.status,
        variants.c.origin_key,
        variants.c.origin_expires_at,
    )
    .select_from(media.outerjoin(variants, variants.c.media_pk == media.c.id))
    .where(
        media.c.org_id == bindparam("org_id"),
        media.c.connection_id == bindparam("connection_id"),
        is_among(media.c.media_id),
    )
)
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
    ids: VariantIds = {}
    for chunk in _chunks(seen):
        ids |= yield from _observe_chunk(org_id, connection_id, chunk, now)
    return ids


def _chunks(seen: Sequence[SeenMedia]) -> Iterator[dict[str, SeenMedia]]:
    """By media id and label, in their order: two processes that see the same media lock rows in the same order."""
    merged: dict[str, SeenMedia] = {}
    for item in sorted(seen, key=lambda item: item.media_id):
        merged[item.media_id] = joined(merged.get(item.media_id, item), item)
    items = list(merged.items())
    for start in range(0, len(items), AT_ONCE):
        yield dict(items[start : start + AT_ONCE])


@dataclass
class _Known:
    """What the catalog has of one media item."""

    pk: str
    type: str
    duration: float | None
    sources: str
    variants: dict[str, Row]  #: label to (id, status, origin_key, origin_expires_at)


def _known(org_id: str, connection_id: str, chunk: dict[str, SeenMedia]) -> Operation[dict[str, _Known]]:
    rows = yield Do(_KNOWN, {"org_id": org_id, "connection_id": connection_id, **padded(list(chunk))})
    known: dict[str, _Known] = {}
    for media_id, pk, media_type, duration, sources, label, *variant in rows:
        entry = known.setdefault(media_id, _Known(pk, media_type, duration, sources, {}))
        if label is not None:
            entry.variants[label] = tuple(variant)
    return known


def _observe_chunk(org_id: str, connection_id: str, chunk: dict[str, SeenMedia], now: int) -> Operation[VariantIds]:
    tenant = {"org_id": org_id, "connection_id": connection_id}
    known = yield from _known(org_id, connection_id, chunk)
    new_media = [_media_row(tenant, item, now) for item in chunk.values() if item.media_id not in known]
    if new_media:
        yield DoMany(_ADD_MEDIA, new_media)
        known = yield from _known(org_id, connection_id, chunk)
    new_variants = [
        _variant_row(tenant, known[item.media_id].pk, item, variant, now)
        for item in chunk.values()
        for variant in item.variants
        if variant.label not in known[item.media_id].variants
    ]
    if new_variants:
        had_variants = {entry.pk for entry in known.values() if entry.variants}
        yield DoMany(_ADD_VARIANT, new_variants)
        known = yield from _known(org_id, connection_id, chunk)
        yield from _account(connection_id, known, {str(row["id"]) for row in new_variants}, had_variants)
    yield from _touch_media(tenant, known, chunk)
    yield from _refresh_variants(known, chunk, now)
    return {
        (item.media_id, variant.label): known[item.media_id].variants[variant.label][0]
        for item in chunk.values()
        for variant in item.variants
    }


def _account(
    connection_id: str, known: dict[str, _Known], offered: set[str], had_variants: set[str]
) -> Operation[None]:
    """Count what was really added: somebody else may have added the same a moment before."""
    added = 0
    for entry in known.values():
        ours = sum(variant[0] in offered for variant in entry.variants.values())
        added += ours
        if ours and entry.pk in had_variants:
            yield from rollups.hold_and_refresh(entry.pk)
    yield from usage.change(connection_id, live=added)


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


def _touch_media(tenant: dict[str, str], known: dict[str, _Known], chunk: dict[str, SeenMedia]) -> Operation[None]:
    """Add what the media were not known for. Locked first: two that add a source each must not lose one."""
    stale = [item.media_id for item in chunk.values() if _touched_media(known[item.media_id], item)]
    if not stale:
        return
    for media_id, media_type, duration, sources in (yield Do(_LOCK_MEDIA, {**tenant, **padded(stale)})):
        entry = known[media_id]
        entry.type, entry.duration, entry.sources = media_type, duration, sources
    touched = [row for media_id in stale if (row := _touched_media(known[media_id], chunk[media_id]))]
    yield DoMany(_TOUCH_MEDIA, touched)
    for row in touched:
        yield from rollups.refresh(str(row["media_pk"]))


def _refresh_variants(known: dict[str, _Known], chunk: dict[str, SeenMedia], now: int) -> Operation[None]:
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
            elif variant.origin_expires_at >= expires_at + _WORTH_PROLONGING:
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


def _touched_media(known: _Known, item: SeenMedia) -> dict[str, object] | None:
    sources = known.sources.split(",")
    if item.source not in sources:
        sources.append(item.source)
    duration = item.duration if item.duration is not None else known.duration
    if (item.type, duration, ",".join(sources)) == (known.type, known.duration, known.sources):
        return None
    return {
        "media_pk": known.pk,
        "set_type": item.type,
        "set_duration": duration,
        "set_sources": ",".join(sources),
    }
