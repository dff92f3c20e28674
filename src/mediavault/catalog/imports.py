"""The catalog's side of an import: bytes from an export become stored variants by the store protocol.

A claim makes the rows that are missing and leases the variant in one transaction, so that nobody sees an imported
variant that waits; a new one has `domain.imported.ORIGIN_KEY` instead of an origin, and is removed where its bytes do
not come. What the vault knows already is kept: stored bytes are never replaced, an origin stays an origin.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects.postgresql import insert  # both engines speak its ON CONFLICT

from mediavault.catalog import blob_rows, configuration, connections, leases, rollups, row_locks, transitions, usage
from mediavault.catalog.blob_rows import StoredBytes
from mediavault.catalog.connections import ConnectionRow
from mediavault.catalog.database import Catalog
from mediavault.catalog.identifiers import new_id
from mediavault.catalog.leases import Claim
from mediavault.catalog.operations import Do, Operation
from mediavault.catalog.padding import chunks, is_among, padded
from mediavault.catalog.tables import blobs, is_in, media, variants
from mediavault.domain.exported import ExportedItem, ExportedVariant
from mediavault.domain.imported import ORIGIN_KEY, REASON
from mediavault.domain.lifecycle import INITIAL, Event, Status
from mediavault.domain.media import overall_type
from mediavault.errors import Conflict, LostRace, NotFound


@dataclass(frozen=True)
class Known:
    """A variant that is in the catalog."""

    status: str
    sha256: str | None  #: hex, where it is stored
    size_bytes: int


@dataclass(frozen=True)
class Importing:
    """A claim for an import, and what it was before."""

    claim: Claim
    was_pending: bool


_MEDIA = ("id", "org_id", "connection_id", "media_id", "type", "duration", "sources", "created_at", "status_mask")
_ADD_MEDIA = (
    insert(media)
    .values({media.c[name]: bindparam(name) for name in (*_MEDIA, "shown_type", "cached_at", "duration_key")})
    .on_conflict_do_nothing(index_elements=["connection_id", "media_id"])
)
_FIND_MEDIA = select(media.c.id).where(
    media.c.org_id == bindparam("org_id"),
    media.c.connection_id == bindparam("connection_id"),
    media.c.media_id == bindparam("media_id"),
)
_ZEROES = ("size_bytes", "access_count", "attempts", "crashes", "not_before", "fence", "reserved_bytes")
_GIVEN = ("id", "org_id", "connection_id", "media_pk", "label", "content_type", "created_at", "origin_expires_at")
_ADD_VARIANT = (
    insert(variants)
    .values(
        {variants.c[name]: bindparam(name) for name in _GIVEN}
        | {variants.c[name]: bindparam("now") for name in ("changed_at", "run_at")}
        | {variants.c[name]: 0 for name in _ZEROES}
        | {variants.c.last_accessed_at: bindparam("created_at"), variants.c.status: INITIAL.value}
        | {variants.c.origin_url: b"", variants.c.origin_key: ORIGIN_KEY, variants.c.observed_path: ""}
    )
    .on_conflict_do_nothing(index_elements=["media_pk", "label"])
    .returning(variants.c.id)
)
_FOUND = (
    select(variants.c.id, variants.c.status, variants.c.size_bytes, blobs.c.sha256)
    .select_from(variants.outerjoin(blobs, blobs.c.id == variants.c.blob_id))
    .where(variants.c.media_pk == bindparam("media_pk"), variants.c.label == bindparam("label"))
)
_KNOWN = (
    select(media.c.media_id, variants.c.label, variants.c.status, blobs.c.sha256, variants.c.size_bytes)
    .select_from(
        media.join(variants, variants.c.media_pk == media.c.id).outerjoin(blobs, blobs.c.id == variants.c.blob_id)
    )
    .where(
        media.c.org_id == bindparam("org_id"),
        media.c.connection_id == bindparam("connection_id"),
        is_among(media.c.media_id),
    )
)
_HELD = (
    select(variants.c.media_pk, variants.c.origin_key)
    .where(
        variants.c.id == bindparam("variant_id"),
        variants.c.fence == bindparam("held_fence"),
        is_in(variants.c.status, Status.STORING),
    )
    .with_for_update(key_share=True)
)
_SET_TIMES = (
    update(variants)
    .where(variants.c.id == bindparam("variant_id"))
    .values(
        stored_at=bindparam("set_stored_at"),
        last_accessed_at=bindparam("set_last_accessed_at"),
        access_count=bindparam("set_access_count"),
    )
)
_PIN = (
    update(media)
    .where(media.c.id == bindparam("media_pk"), media.c.pinned_at.is_(None))
    .values(
        pinned_at=bindparam("set_pinned_at"), pinned_until=bindparam("set_until"), pin_reason=bindparam("set_reason")
    )
)


def connection_for(row: ConnectionRow, max_inflight: int) -> Operation[str]:
    """A new connection without a session; or the one that an earlier import made for the same upstream user.

    Raises Conflict where the user has one that has a session.
    """
    if (yield from connections.add(row, max_inflight)):
        return row.id
    living = yield from connections.of_user(row.org_id, row.upstream_base_url, row.upstream_user_id)
    if living is not None and not living.session:
        return living.id
    which = "" if living is None else f" {living.id}"
    raise Conflict(f"there is a connection{which} of the same upstream user: import into that one (--connection)")


async def known(
    catalog: Catalog, org_id: str, connection_id: str, media_ids: Sequence[str]
) -> dict[tuple[str, str], Known]:
    """What there is of some items, by media id and label."""
    found: dict[tuple[str, str], Known] = {}
    for ids in chunks(media_ids):
        rows = await catalog.fetch_list(_KNOWN, {"org_id": org_id, "connection_id": connection_id, **padded(ids)})
        found |= {(row[0], row[1]): Known(*row[2:]) for row in rows}
    return found


def claim(
    org_id: str, connection_id: str, item: ExportedItem, label: str, holder: str, lease_until: int, now: int
) -> Operation[Importing | Known]:
    """Lease a variant for an import, made where there is none; what is there, where it is stored or being stored.

    Raises NotFound where the connection is gone.
    """
    if (yield from configuration.configured(org_id, connection_id)) is None:
        raise NotFound("the connection is gone")
    tenant = {"org_id": org_id, "connection_id": connection_id}
    media_pk = yield from _media(tenant, item, now)
    is_new = yield from _variant(tenant, media_pk, label, item.variants[label], now)
    ((variant_id, *_),) = yield Do(_FOUND, {"media_pk": media_pk, "label": label})
    yield from row_locks.hold([variant_id])
    if is_new:
        yield from rollups.refresh(media_pk)
        yield from usage.change(connection_id, live=1)
    ((variant_id, status, size_bytes, sha256),) = yield Do(_FOUND, {"media_pk": media_pk, "label": label})
    if status in {Status.STORED.value, Status.STORING.value}:
        return Known(status, sha256, size_bytes)
    if status == Status.REMOVED.value:
        yield from transitions.apply(variant_id, Event.SEEN_AGAIN, at=now, reason=REASON)
    if status != Status.PENDING.value:
        anew: dict[str, Any] = {"run_at": now, "attempts": 0, "crashes": 0, "kept_out": None, "last_error": None}
        yield from transitions.apply(variant_id, Event.QUEUED, at=now, reason=REASON, **anew)
    moved = yield from transitions.apply(
        variant_id, Event.CLAIMED, at=now, lease_holder=holder, lease_expires_at=lease_until
    )
    blob_id = yield from leases.intend(moved, now)
    claimed = Claim(variant_id, org_id, connection_id, moved.fence, blob_id, 0)
    return Importing(claimed, was_pending=status == Status.PENDING.value)


def _media(tenant: dict[str, str], item: ExportedItem, now: int) -> Operation[str]:
    """The item's row; made where there is none."""
    shown = overall_type([], item.upstream_type)
    values = {
        **tenant,
        "id": new_id(now),
        "media_id": item.id,
        "type": item.upstream_type.value,
        "duration": item.duration,
        "sources": ",".join(dict.fromkeys(source.value for source in item.sources)),
        "created_at": min(item.created_at, now),
        "status_mask": 0,
        "shown_type": shown.value,
        "cached_at": rollups.NONE,
        "duration_key": rollups.duration_key(shown, item.duration),
    }
    yield Do(_ADD_MEDIA, values)
    ((media_pk,),) = yield Do(_FIND_MEDIA, {**tenant, "media_id": item.id})
    return str(media_pk)


def _variant(tenant: dict[str, str], media_pk: str, label: str, variant: ExportedVariant, now: int) -> Operation[bool]:
    """Make it where there is none; whether there was none."""
    values = {
        **tenant,
        "id": new_id(now),
        "media_pk": media_pk,
        "label": label,
        "content_type": "application/octet-stream",  # until its bytes were seen
        "created_at": min(variant.created_at, now),
        "origin_expires_at": variant.expires_at,
        "now": now,
    }
    return bool((yield Do(_ADD_VARIANT, values)))


def settle(claim: Claim, stored: StoredBytes, item: ExportedItem, label: str, now: int) -> Operation[None]:
    """The bytes are durable: the variant is stored, as long since and as often viewed as the export says.

    One that has an origin keeps what this vault knows of it. Raises LostRace for a stale fence.
    """
    yield from row_locks.hold([claim.variant_id])
    held = yield Do(_HELD, {"variant_id": claim.variant_id, "held_fence": claim.fence})
    if not held:
        raise LostRace(f"the lease of {claim.variant_id} is no longer held")
    yield from blob_rows.settle(claim, stored, now)
    media_pk, origin_key = held[0]
    if origin_key != ORIGIN_KEY:
        return
    variant = item.variants[label]
    created_at = min(variant.created_at, now)
    times = {
        "set_stored_at": _between(created_at, variant.stored_at, now),
        "set_last_accessed_at": _between(created_at, variant.last_accessed_at, now),
        "set_access_count": variant.access_count,
    }
    yield Do(_SET_TIMES, {"variant_id": claim.variant_id, **times})
    yield from rollups.refresh(media_pk)
    if item.pin is not None:
        pin = {
            "set_pinned_at": min(item.pin.pinned_at, now),
            "set_until": item.pin.until,
            "set_reason": item.pin.reason,
        }
        yield Do(_PIN, {"media_pk": media_pk, **pin})


def _between(earliest: int, told: int | None, latest: int) -> int:
    return latest if told is None else min(max(told, earliest), latest)


def withdraw(importing: Importing, now: int) -> Operation[None]:
    """The bytes do not come: the variant is what it was, and gone if it had no origin. Raises LostRace."""
    claim = importing.claim
    if not (yield Do(_HELD, {"variant_id": claim.variant_id, "held_fence": claim.fence})):
        raise LostRace(f"the lease of {claim.variant_id} is no longer held")
    reason = "its import was broken off"
    if importing.was_pending:
        yield from transitions.apply(
            claim.variant_id, Event.RELEASED, at=now, fence=claim.fence, reason=reason, run_at=now
        )
    else:
        yield from transitions.apply(claim.variant_id, Event.UNQUEUED, at=now, reason=reason)
