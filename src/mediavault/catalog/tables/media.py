"""Media items, their variants and the blobs behind them. Only variants have a `status`."""

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from mediavault.catalog.tables.columns import ByteText, metadata, one_of, partial_index
from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType


class BlobState(StrEnum):
    """What is known of a blob's bytes."""

    WRITING = "writing"  #: a storer means to write them; nothing may be relied on
    LIVE = "live"  #: durable; digest and size are true
    DOOMED = "doomed"  #: nobody refers to them; a sweep deletes them, then this row
    QUARANTINED = "quarantined"  #: found bad; nobody refers to them; they are set aside for people, then this row goes


media = Table(
    "media",
    metadata,
    Column("id", ByteText, primary_key=True),
    Column("org_id", ByteText, nullable=False),
    Column("connection_id", ByteText, ForeignKey("connections.id"), nullable=False),
    Column("media_id", ByteText, nullable=False),
    Column("type", ByteText, nullable=False),
    Column("duration", Double),
    Column("sources", ByteText, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # Rollups over the live variants, kept by `catalog/rollups.py`; -1 where there is no such sort key.
    Column("status_mask", BigInteger, nullable=False),
    Column("shown_type", ByteText, nullable=False),
    Column("cached_at", BigInteger, nullable=False),
    Column("duration_key", Double, nullable=False),
    Column("pinned_at", BigInteger),
    Column("pinned_until", BigInteger),
    Column("pin_reason", Text),
    UniqueConstraint("connection_id", "media_id"),
    one_of("type", MediaType),
)
_SORT_KEYS = ("created_at", "cached_at", "duration_key")
for _key in _SORT_KEYS:
    # After the order come the other keys and the type: what a page leaves out is left out without a look at its row.
    partial_index(
        f"ix_media_by_{_key}",
        "status_mask <> 0",
        media.c.connection_id,
        media.c[_key],
        media.c.id,
        *(media.c[other] for other in _SORT_KEYS if other != _key),
        media.c.shown_type,
    )
    # For pages of what is pending or storing (`catalog/rollups.STATUS_BITS`): few, and few pages to write.
    partial_index(
        f"ix_media_waiting_{_key}",
        "(status_mask & 6) <> 0",
        media.c.connection_id,
        media.c.status_mask,
        media.c[_key],
        media.c.id,
    )


variants = Table(
    "variants",
    metadata,
    Column("id", ByteText, primary_key=True),
    Column("org_id", ByteText, nullable=False),
    Column("connection_id", ByteText, nullable=False),
    Column("media_pk", ByteText, ForeignKey("media.id"), nullable=False),
    Column("label", ByteText, nullable=False),
    Column("status", ByteText, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("content_type", ByteText, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("access_count", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("last_accessed_at", BigInteger, nullable=False),
    Column("stored_at", BigInteger),
    Column("removed_at", BigInteger),
    Column("origin_url", LargeBinary, nullable=False),
    Column("origin_key", ByteText, nullable=False),
    Column("origin_expires_at", BigInteger, nullable=False),
    Column("observed_path", Text, nullable=False),
    Column("version", ByteText),
    Column("blob_id", ByteText, ForeignKey("blobs.id")),
    Column("retained_blob_id", ByteText, ForeignKey("blobs.id")),
    Column("run_at", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("crashes", BigInteger, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("last_error", Text),
    Column("fence", BigInteger, nullable=False),
    Column("lease_holder", ByteText),
    Column("lease_expires_at", BigInteger),
    Column("reserved_bytes", BigInteger, nullable=False),
    Column("kept_out", Text),
    # Why it is wanted, or no longer is: the rule or the wish behind the last decision, for `explain`.
    Column("decided_by", Text),
    # The variant whose bytes these were made of (`catalog/derivations.py`); one without an origin has an empty key.
    Column("derived_from", ByteText),
    # Since when the retained bytes were stored, where they stay until newer ones are (`catalog/superseded.py`).
    Column("retained_stored_at", BigInteger),
    UniqueConstraint("media_pk", "label"),
    one_of("status", Status),
    CheckConstraint("(status = 'storing') = (lease_holder IS NOT NULL)", name="lease"),
    CheckConstraint("(status = 'stored') = (blob_id IS NOT NULL)", name="blob"),
    CheckConstraint("status <> 'stored' OR retained_blob_id IS NULL", name="retained"),
)


partial_index(
    "ix_variants_pending",
    "status = 'pending'",
    variants.c.connection_id,
    variants.c.origin_expires_at,
    variants.c.id,
    variants.c.run_at,
)
# For pages of a content type that few media have; most have a JPEG, which any order finds soon (`page_statements.py`).
partial_index(
    "ix_variants_content_type",
    "status <> 'removed' AND content_type <> 'image/jpeg'",
    variants.c.connection_id,
    variants.c.content_type,
    variants.c.media_pk,
)
partial_index("ix_variants_superseded", "retained_stored_at IS NOT NULL", variants.c.connection_id, variants.c.id)
partial_index("ix_variants_derived", "derived_from IS NOT NULL", variants.c.derived_from)
partial_index("ix_variants_storing", "status = 'storing'", variants.c.connection_id, variants.c.lease_expires_at)
partial_index("ix_variants_retained", "retained_blob_id IS NOT NULL", variants.c.removed_at)
Index("ix_variants_connection", variants.c.connection_id, variants.c.status, variants.c.id)
# Without these two, deleting a blob's row would look at every variant for one that refers to it.
partial_index("ix_variants_blob", "blob_id IS NOT NULL", variants.c.blob_id)
partial_index("ix_variants_retained_blob", "retained_blob_id IS NOT NULL", variants.c.retained_blob_id)
partial_index("ix_variants_stored", "status = 'stored'", variants.c.connection_id, variants.c.stored_at, variants.c.id)
partial_index(
    "ix_variants_by_size", "status = 'stored'", variants.c.connection_id, variants.c.size_bytes, variants.c.id
)
partial_index("ix_variants_by_view", "status = 'stored'", variants.c.connection_id, variants.c.last_accessed_at)
partial_index(
    "ix_variants_at_risk",
    "status IN ('edge_only', 'pending', 'storing')",
    variants.c.connection_id,
    variants.c.origin_expires_at,
    variants.c.id,
)


blobs = Table(
    "blobs",
    metadata,
    Column("id", ByteText, primary_key=True),
    Column("org_id", ByteText, nullable=False),
    Column("state", ByteText, nullable=False),
    Column("variant_id", ByteText, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("sha256", ByteText),
    Column("size_bytes", BigInteger, nullable=False),
    Column("refs", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # For moves between stores (`catalog/blob_moves.py`): the store it was moved to or found in, and until when no sweep
    # takes it for dead: an intent of a move, or the copy that one left behind.
    Column("place", Text),
    Column("keep_until", BigInteger),
    one_of("state", BlobState),
    CheckConstraint("state <> 'live' OR (sha256 IS NOT NULL AND refs > 0)", name="live_is_referenced"),
    CheckConstraint("state = 'live' OR refs = 0", name="only_live_is_referenced"),
)
partial_index("ix_blobs_same_bytes", "state = 'live'", blobs.c.org_id, blobs.c.sha256)
partial_index("ix_blobs_writing", "state = 'writing'", blobs.c.id)
partial_index("ix_blobs_doomed", "state = 'doomed'", blobs.c.id)
partial_index("ix_blobs_quarantined", "state = 'quarantined'", blobs.c.id)
partial_index("ix_blobs_kept", "keep_until IS NOT NULL", blobs.c.keep_until)
