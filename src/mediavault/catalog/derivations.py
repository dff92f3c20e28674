"""Thumbnails that the vault makes itself, where upstream has none.

A derived thumbnail is a variant like any other, labelled `thumb`, with no origin: its `origin_key` is empty, so it is
stored or on its way there, or removed, and never `edge_only` for longer than a transaction. `derived_from` names the
variant whose bytes its own were made of; it goes when that one goes (`catalog/transitions.py`). Once upstream shows a
thumb, the variant has an origin, and the derived bytes serve until the origin's are stored.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, exists, null, select, update
from sqlalchemy.dialects.postgresql import insert  # both engines speak its ON CONFLICT

from mediavault.catalog import configuration, policy_scan, row_locks, transitions, usage
from mediavault.catalog.blob_rows import StoredBytes
from mediavault.catalog.configuration import Configured
from mediavault.catalog.database import Catalog
from mediavault.catalog.identifiers import new_id
from mediavault.catalog.leases import Claim
from mediavault.catalog.operations import Do, Operation, Row
from mediavault.catalog.policy_scan import Judge
from mediavault.catalog.tables import connections, is_in, media, organisations, variants
from mediavault.catalog.tables import usage as usage_rows
from mediavault.domain.derivation import LABEL, NEVER, can_be_source, preference
from mediavault.domain.lifecycle import INITIAL, Event, Status
from mediavault.domain.media import MediaType, Source
from mediavault.domain.policy import Effect, Facts
from mediavault.errors import LostRace, ThumbnailFailed

#: What wanted a derived thumbnail.
REASON = "upstream has no thumb, so one is made of {}"
REPLACED = "upstream shows a thumb of its own"

_PAGE = 500

#: Whether the policy that is stored when the transaction runs wants a thumbnail made. Pure.
Wants = Callable[[Configured, Facts], bool]


@dataclass(frozen=True)
class Deriver:
    """What a storer can and policy wants."""

    makeable: Collection[str]  #: content types of originals
    wants: Wants


@dataclass(frozen=True)
class Original:
    """A stored variant that a thumbnail can be made of."""

    variant_id: str
    org_id: str
    label: str
    content_type: str
    blob_id: str


_thumb = variants.alias("thumb")
_SITUATION = (
    select(
        variants.c.org_id,
        variants.c.connection_id,
        variants.c.media_pk,
        variants.c.label,
        variants.c.content_type,
        media.c.type,
        media.c.sources,
        _thumb.c.id,
        _thumb.c.status,
        _thumb.c.origin_key,
        _thumb.c.kept_out,
        _thumb.c.access_count,
    )
    .join_from(variants, media, media.c.id == variants.c.media_pk)
    .outerjoin(_thumb, (_thumb.c.media_pk == variants.c.media_pk) & (_thumb.c.label == LABEL))
    .where(variants.c.id == bindparam("variant_id"), is_in(variants.c.status, Status.STORED))
)
_HOLD_MEDIA = select(media.c.id).where(media.c.id == bindparam("media_pk")).with_for_update(key_share=True)
_ZEROES = ("size_bytes", "access_count", "attempts", "crashes", "not_before", "fence", "reserved_bytes")
_TIMES = ("created_at", "changed_at", "last_accessed_at", "run_at")
_ADD = (
    insert(variants)
    .values(
        {variants.c[name]: bindparam(name) for name in ("id", "org_id", "connection_id", "media_pk", "derived_from")}
        | {variants.c[name]: bindparam("now") for name in _TIMES}
        | {variants.c[name]: 0 for name in _ZEROES}
        | {variants.c.label: LABEL, variants.c.status: INITIAL.value, variants.c.content_type: "image/jpeg"}
        | {variants.c.origin_url: b"", variants.c.origin_key: "", variants.c.observed_path: ""}
        | {variants.c.origin_expires_at: NEVER}
    )
    .on_conflict_do_nothing(index_elements=["media_pk", "label"])
    .returning(variants.c.id)
)
_wanted = variants.alias("wanted")
_ORIGINALS = (
    select(variants.c.id, variants.c.org_id, variants.c.label, variants.c.content_type, variants.c.blob_id)
    .join_from(_wanted, variants, variants.c.media_pk == _wanted.c.media_pk)
    .where(_wanted.c.id == bindparam("variant_id"), is_in(variants.c.status, Status.STORED))
)
_STILL_STORED = (
    select(variants.c.id)
    .where(variants.c.id == bindparam("variant_id"), variants.c.blob_id == bindparam("of_blob"))
    .with_for_update(key_share=True)
)
_WITHOUT_ORIGIN = (
    select(variants.c.status)
    .where(variants.c.id == bindparam("variant_id"), variants.c.origin_key == "")
    .with_for_update(key_share=True)
)
_SET_DERIVED_FROM = (
    update(variants).where(variants.c.id == bindparam("variant_id")).values(derived_from=bindparam("set_derived_from"))
)
_CLEAR_DERIVED_FROM = (
    update(variants)
    .where(variants.c.id == bindparam("variant_id"), variants.c.derived_from.is_not(None))
    .values(derived_from=null())
)
_WITH_STORED = (
    select(connections.c.org_id, connections.c.id, organisations.c.settings, connections.c.settings_overrides)
    .join_from(connections, organisations, organisations.c.id == connections.c.org_id)
    .join(usage_rows, usage_rows.c.connection_id == connections.c.id)
    .where(
        connections.c.id > bindparam("after"),
        connections.c.disconnected_at.is_(None),
        connections.c.vault_plus_enabled.is_(True),
        usage_rows.c.stored_count > 0,
    )
    .order_by(connections.c.id)
    .limit(_PAGE)
)
_LACKING = (
    select(variants.c.id)
    .where(
        variants.c.connection_id == bindparam("connection_id"),
        variants.c.org_id == bindparam("org_id"),
        is_in(variants.c.status, Status.STORED),
        variants.c.id > bindparam("after"),
        ~exists(select(_thumb.c.id).where(_thumb.c.media_pk == variants.c.media_pk, _thumb.c.label == LABEL)),
    )
    .order_by(variants.c.id)
    .limit(_PAGE)
)


def want(variant_id: str, deriver: Deriver, now: int) -> Operation[str | None]:
    """Queue the thumbnail of a stored variant's media item, where upstream has none and policy wants one.

    The thumbnail's id; None where nothing was queued. One that was given up or removed is made again only here, when
    an original of it is stored; what the storage limit evicted stays out.
    """
    rows = yield Do(_SITUATION, {"variant_id": variant_id})
    if not rows:
        return None
    org_id, connection_id, media_pk, label, content_type, media_type, sources, *thumb = rows[0]
    if not can_be_source(label, content_type, deriver.makeable) or not _is_open(thumb):
        return None
    held = yield from configuration.configured(org_id, connection_id)
    facts = Facts(MediaType(media_type), LABEL, [Source(source) for source in sources.split(",")], thumb[4] or 0)
    if held is None or not deriver.wants(held, facts):
        return None
    tenant = {"org_id": org_id, "connection_id": connection_id, "media_pk": media_pk}
    thumb_id: str | None = thumb[0]
    if thumb_id is None:
        thumb_id = yield from _add(tenant, variant_id, now)
    else:
        yield from transitions.apply(thumb_id, Event.SEEN_AGAIN, at=now, reason="an original of it is stored again")
    if thumb_id is not None:
        anew: dict[str, Any] = {"run_at": now, "attempts": 0, "crashes": 0, "last_error": None}
        anew["derived_from"] = variant_id
        yield from transitions.apply(thumb_id, Event.QUEUED, at=now, reason=REASON.format(label), **anew)
    return thumb_id


def _is_open(thumb: Row) -> bool:
    """Whether there is no thumbnail, or only a derived one that is gone and may come back."""
    thumb_id, status, origin_key, kept_out, _ = thumb
    return thumb_id is None or (status == Status.REMOVED.value and origin_key == "" and kept_out is None)


def _add(tenant: dict[str, str], variant_id: str, now: int) -> Operation[str | None]:
    """The new row's id; None where an observer or another storer has added a thumb a moment before."""
    yield Do(_HOLD_MEDIA, {"media_pk": tenant["media_pk"]})
    rows = yield Do(_ADD, {**tenant, "id": new_id(now), "derived_from": variant_id, "now": now})
    if not rows:
        return None
    yield from usage.change(tenant["connection_id"], live=1)
    return str(rows[0][0])


async def originals(catalog: Catalog, thumb_id: str, makeable: Collection[str]) -> list[Original]:
    """The stored variants that the thumbnail can be made of, the best one first."""
    found = [Original(*row) for row in await catalog.fetch(_ORIGINALS, {"variant_id": thumb_id})]
    usable = [each for each in found if can_be_source(each.label, each.content_type, makeable)]
    return sorted(usable, key=lambda each: (preference(each.label), each.variant_id))


def settle_derived(
    claim: Claim, stored: StoredBytes, original: Original, judge: Judge, now: int
) -> Operation[Effect | None]:
    """The thumbnail's bytes are durable: as `policy_scan.settle`, while it has no origin and its original is there.

    Raises LostRace, and ThumbnailFailed where what it was made of, or for, is another now.
    """
    yield from row_locks.hold_items_of([claim.variant_id])
    if not (yield Do(_STILL_STORED, {"variant_id": original.variant_id, "of_blob": original.blob_id})):
        raise ThumbnailFailed("what it was made of changed meanwhile")
    if not (yield Do(_WITHOUT_ORIGIN, {"variant_id": claim.variant_id})):
        raise ThumbnailFailed(REPLACED)
    against = yield from policy_scan.settle(claim, stored, judge, now)
    yield Do(_SET_DERIVED_FROM, {"variant_id": claim.variant_id, "set_derived_from": original.variant_id})
    return against


def settle_fetched(
    claim: Claim, stored: StoredBytes, judge: Judge, deriver: Deriver, now: int
) -> Operation[Effect | None]:
    """The origin's bytes are durable: as `policy_scan.settle`; and the thumbnail there is to be made is queued."""
    yield from row_locks.hold_items_of([claim.variant_id])
    against = yield from policy_scan.settle(claim, stored, judge, now)
    if against is None:
        yield Do(_CLEAR_DERIVED_FROM, {"variant_id": claim.variant_id})
        yield from want(claim.variant_id, deriver, now)
    return against


def make_way(variant_id: str, now: int) -> Operation[bool]:
    """Upstream shows a thumb where a derived one is: whether that was stored, so that the origin's is to be queued.

    The derived bytes are retained, and serve until the origin's are durable.
    """
    rows = yield Do(_WITHOUT_ORIGIN, {"variant_id": variant_id})
    if not rows or rows[0][0] != Status.STORED.value:
        return False
    yield from transitions.apply(variant_id, Event.REMOVED, at=now, reason=REPLACED, superseded=True)
    yield from transitions.apply(variant_id, Event.SEEN_AGAIN, at=now)
    return True


def queue_origins(variant_id: str, now: int) -> Operation[None]:
    """Store the origin's thumb in place of the derived one."""
    yield from transitions.apply(variant_id, Event.QUEUED, at=now, reason=REPLACED, run_at=now)


async def with_stored(catalog: Catalog) -> list[tuple[str, str, str, str | None]]:
    """`(organisation, connection, its settings, overrides)` of those with Vault+ on that have stored media."""
    found: list[tuple[str, str, str, str | None]] = []
    after = ""
    while rows := await catalog.fetch_list(_WITH_STORED, {"after": after}):
        after = rows[-1][1]
        found.extend((row[0], row[1], row[2], row[3]) for row in rows)
    return found


async def lacking(catalog: Catalog, org_id: str, connection_id: str, after: str) -> list[str]:
    """A page of the stored variants, in the order of their ids, whose media items have no thumb of any kind."""
    values = {"org_id": org_id, "connection_id": connection_id, "after": after}
    return [row[0] for row in await catalog.fetch_list(_LACKING, values)]


def want_some(variant_ids: list[str], deriver: Deriver, now: int) -> Operation[int]:
    """Queue thumbnails for a page of stored variants; how many. What somebody moved meanwhile is left."""
    queued = 0
    yield from row_locks.hold_items_of(variant_ids)
    for variant_id in variant_ids:
        try:
            queued += (yield from want(variant_id, deriver, now)) is not None
        except LostRace:
            continue
    return queued
