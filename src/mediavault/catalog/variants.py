"""Single variants: what the media host and the storer must know of one, and what they learn about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import bindparam, case, func, select, update

from mediavault.catalog import row_locks, transitions
from mediavault.catalog.database import Catalog
from mediavault.catalog.operations import Do, DoMany, Operation
from mediavault.catalog.padding import chunks, is_among, padded
from mediavault.catalog.tables import blobs, connections, media, organisations, variants
from mediavault.domain.imported import WITHOUT_ORIGIN
from mediavault.domain.lifecycle import Event, Status
from mediavault.domain.reasons import printable
from mediavault.errors import LostRace


class Variant(NamedTuple):
    """A variant with its media and what its connection says about keeping it."""

    id: str
    org_id: str
    connection_id: str
    media_id: str
    media_type: str
    duration: float | None
    sources: str  #: comma-separated, first seen first
    label: str
    status: str
    content_type: str
    size_bytes: int
    access_count: int
    stored_at: int | None
    version: str | None  #: ETag of the stored bytes
    blob_id: str | None  #: stored, or retained from before a removal
    sha256: str | None  #: hex, of the stored bytes
    origin_url: bytes  #: sealed
    origin_key: str
    origin_expires_at: int
    not_before: int  #: viewers do not ask the origin before (Unix ms); 0 when nothing forbids it
    last_error: str | None
    attempts: int  #: finished tries to store it under this origin URL
    removed_at: int | None  #: of the removal whose bytes may still be retained; None once it is stored again
    kept_out: str | None  #: why it is not stored by itself any more: the limit evicted it
    vault_plus_enabled: bool
    settings_overrides: str | None
    organisation_settings: str
    derived_from: str | None  #: the variant whose bytes the ones it has were made of
    retained_stored_at: int | None  #: of the bytes it has, where they stay until newer ones are stored

    @property
    def is_derived(self) -> bool:
        """Whether it has no origin: the storer makes it, from what is stored of its media item."""
        return not self.origin_key

    @property
    def has_origin(self) -> bool:
        """Whether its bytes can be fetched: what was derived, or imported, has nowhere to be fetched from."""
        return self.origin_key not in WITHOUT_ORIGIN

    @property
    def has_older_bytes(self) -> bool:
        """Whether it is fetched anew, or is to be, while the bytes from before its removal are still there."""
        anew = self.status in {Status.PENDING, Status.STORING} or self.given_up or self.retained_stored_at is not None
        return anew and self.status not in {Status.STORED, Status.REMOVED} and self.blob_id is not None

    @property
    def given_up(self) -> bool:
        """Whether storing it failed for good: it is not queued again by itself until a new origin URL is seen."""
        return self.status == Status.EDGE_ONLY and self.attempts > 0


#: Those of a variant that was purged because it changed upstream serve until the new ones are stored.
_BYTES = func.coalesce(variants.c.blob_id, variants.c.retained_blob_id)
_VARIANTS = (
    select(
        variants.c.id,
        variants.c.org_id,
        variants.c.connection_id,
        media.c.media_id,
        media.c.type,
        media.c.duration,
        media.c.sources,
        *(variants.c[name] for name in ("label", "status", "content_type", "size_bytes", "access_count", "stored_at")),
        variants.c.version,
        _BYTES,
        blobs.c.sha256,
        *(variants.c[name] for name in ("origin_url", "origin_key", "origin_expires_at", "not_before", "last_error")),
        variants.c.attempts,
        variants.c.removed_at,
        variants.c.kept_out,
        connections.c.vault_plus_enabled,
        connections.c.settings_overrides,
        organisations.c.settings,
        variants.c.derived_from,
        variants.c.retained_stored_at,
    )
    .join_from(variants, media, media.c.id == variants.c.media_pk)
    .join(connections, connections.c.id == variants.c.connection_id)
    .join(organisations, organisations.c.id == variants.c.org_id)
    .outerjoin(blobs, blobs.c.id == _BYTES)
    .where(connections.c.disconnected_at.is_(None))
)
#: Every `Variant` of a connected connection, for other questions about them.
VARIANTS = _VARIANTS
_VARIANT = _VARIANTS.where(variants.c.id == bindparam("variant_id"))
_EDGE_ONLY_OF = _VARIANTS.where(is_among(variants.c.id), variants.c.status == Status.EDGE_ONLY.value)
_COUNT = (
    update(variants)
    .where(variants.c.id == bindparam("variant_id"))
    .values(
        access_count=variants.c.access_count + bindparam("views"),
        last_accessed_at=case(
            (variants.c.last_accessed_at < bindparam("viewed_at"), bindparam("viewed_at")),
            else_=variants.c.last_accessed_at,
        ),
    )
)
_BLAME = (
    update(variants)
    .where(variants.c.id == bindparam("variant_id"), variants.c.origin_key == bindparam("of_key"))
    .values(not_before=bindparam("until"), last_error=bindparam("reason"))
)


async def find_variant(catalog: Catalog, variant_id: str) -> Variant | None:
    """The variant of that id, whatever its status; None when there is none or its connection is gone."""
    rows = await catalog.fetch(_VARIANT, {"variant_id": variant_id})
    return Variant(*rows[0]) if rows else None


@dataclass(frozen=True, slots=True)
class Views:
    """Views of one variant since the last flush."""

    variant_id: str
    count: int
    last_at: int  #: Unix ms


def count_views(views: Sequence[Views]) -> Operation[list[Variant]]:
    """Add views; the variants among them that are edge_only, as they are now: policy may want them stored."""
    ordered = sorted(views, key=lambda view: view.variant_id)
    yield DoMany(
        _COUNT, [{"variant_id": view.variant_id, "views": view.count, "viewed_at": view.last_at} for view in ordered]
    )
    touched: list[Variant] = []
    for ids in chunks([view.variant_id for view in ordered]):
        rows = yield Do(_EDGE_ONLY_OF, padded(ids))
        touched.extend(Variant(*row) for row in rows)
    return touched


def queue(variant_ids: Sequence[str], reason: str, now: int) -> Operation[int]:
    """Queue edge_only variants for storing; the ones somebody moved meanwhile are left. How many.

    What the limit evicted is let in again: whoever queues by policy leaves those out (`Variant.kept_out`).
    """
    queued = 0
    if len(variant_ids) > 1:
        yield from row_locks.hold(variant_ids)
    for variant_id in variant_ids:
        try:
            yield from transitions.apply(
                variant_id, Event.QUEUED, at=now, reason=reason, run_at=now, attempts=0, crashes=0, kept_out=None
            )
        except LostRace:
            continue
        queued += 1
    return queued


def blame_origin(variant_id: str, origin_key: str, reason: str, until: int) -> Operation[None]:
    """The origin failed under this URL: do not ask it again before `until`. Another URL seen meanwhile is innocent."""
    yield Do(_BLAME, {"variant_id": variant_id, "of_key": origin_key, "reason": printable(reason), "until": until})
