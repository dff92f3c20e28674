"""Everything the catalog knows of one media item's variants, removed ones too."""

from dataclasses import dataclass

from sqlalchemy import bindparam, select

from mediavault.catalog.database import Catalog
from mediavault.catalog.tables import media, variants


@dataclass(frozen=True, slots=True)
class ExplainedRow:
    """A variant with its media item."""

    media_type: str
    sources: str  #: comma-separated
    pinned_at: int | None
    pinned_until: int | None
    pin_reason: str | None
    label: str
    status: str
    changed_at: int
    size_bytes: int
    access_count: int
    last_accessed_at: int
    stored_at: int | None
    removed_at: int | None
    has_retained: bool
    origin_expires_at: int
    run_at: int
    attempts: int
    not_before: int
    last_error: str | None
    lease_expires_at: int | None
    kept_out: str | None
    decided_by: str | None
    content_type: str
    origin_key: str  #: empty where the vault makes it itself
    retained_stored_at: int | None  #: of bytes that serve until newer ones are stored
    derived_from: str | None  #: label of the variant whose bytes its own were made of


_original = variants.alias("original")
_ROWS = (
    select(
        media.c.type,
        *(media.c[name] for name in ("sources", "pinned_at", "pinned_until", "pin_reason")),
        *(variants.c[name] for name in ("label", "status", "changed_at", "size_bytes", "access_count")),
        *(variants.c[name] for name in ("last_accessed_at", "stored_at", "removed_at")),
        variants.c.retained_blob_id.is_not(None),
        *(variants.c[name] for name in ("origin_expires_at", "run_at", "attempts", "not_before", "last_error")),
        *(variants.c[name] for name in ("lease_expires_at", "kept_out", "decided_by", "content_type", "origin_key")),
        variants.c.retained_stored_at,
        _original.c.label,
    )
    .join_from(media, variants, variants.c.media_pk == media.c.id)
    .outerjoin(_original, _original.c.id == variants.c.derived_from)
    .where(
        media.c.org_id == bindparam("org_id"),
        media.c.connection_id == bindparam("connection_id"),
        media.c.media_id == bindparam("media_id"),
    )
    .order_by(variants.c.label)
)


async def explained(catalog: Catalog, org_id: str, connection_id: str, media_id: str) -> list[ExplainedRow]:
    """Every variant of a media item of the connection; empty when nothing was ever seen of it."""
    values = {"org_id": org_id, "connection_id": connection_id, "media_id": media_id}
    return [ExplainedRow(*row) for row in await catalog.fetch(_ROWS, values)]
