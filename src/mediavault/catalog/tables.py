"""The schema, the same on both engines. Times are BIGINT Unix milliseconds; enums are TEXT with a CHECK.

Every row of a tenant carries `org_id` and is looked up with it. Only variants have a `status`; every other table
says `state`. Text sorts by its bytes on both engines.
"""

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)

from mediavault.domain.lifecycle import Status
from mediavault.domain.media import MediaType

ByteText = Text().with_variant(Text(collation="C"), "postgresql")


class ConnectionState(StrEnum):
    """The contract's connection statuses."""

    ACTIVE = "active"
    EXPIRED = "expired"
    AWAITING_2FA = "awaiting_2fa"


class BlobState(StrEnum):
    """What is known of a blob's bytes."""

    WRITING = "writing"  #: a storer means to write them; nothing may be relied on
    LIVE = "live"  #: durable; digest and size are true
    DOOMED = "doomed"  #: nobody refers to them; a sweep deletes them, then this row


def _one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(str(value)) for value in values)})", name=column)


def is_in(column: Column[str], state: StrEnum) -> ColumnElement[bool]:
    """The column has that value, written out: a planner cannot match a parameter with a partial index."""
    return column == literal_column(f"'{state.value}'")


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: Facts of the installation: the check of the master key.
installation = Table(
    "installation",
    metadata,
    Column("name", ByteText, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

organisations = Table(
    "organisations",
    metadata,
    Column("id", ByteText, primary_key=True),
    Column("name", ByteText, nullable=False, unique=True),
    Column("settings", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", ByteText, primary_key=True),
    Column("org_id", ByteText, ForeignKey("organisations.id"), nullable=False, index=True),
    Column("name", Text),
    Column("prefix", ByteText, nullable=False),
    Column("sha256", ByteText, nullable=False, unique=True),
    Column("scopes", ByteText, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

connections = Table(
    "connections",
    metadata,
    Column("id", ByteText, primary_key=True),
    Column("org_id", ByteText, ForeignKey("organisations.id"), nullable=False),
    Column("state", ByteText, nullable=False),
    Column("upstream_base_url", ByteText, nullable=False),
    Column("upstream_user_id", ByteText, nullable=False),
    Column("user_data", Text, nullable=False),
    Column("permissions", Text, nullable=False),
    Column("client_reference_id", Text),
    Column("session", LargeBinary, nullable=False),
    Column("vault_plus_enabled", Boolean, nullable=False),
    Column("settings_overrides", Text),
    Column("max_inflight", BigInteger, nullable=False),
    Column("served_at", BigInteger, nullable=False),
    Column("paused_until", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("expired_at", BigInteger),
    Column("last_checked_at", BigInteger),
    Column("disconnected_at", BigInteger),
    _one_of("state", ConnectionState),
)
Index(
    "uq_connections_upstream_user",
    connections.c.org_id,
    connections.c.upstream_base_url,
    connections.c.upstream_user_id,
    unique=True,
    sqlite_where=connections.c.disconnected_at.is_(None),
    postgresql_where=connections.c.disconnected_at.is_(None),
)

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
    UniqueConstraint("connection_id", "media_id"),
    _one_of("type", MediaType),
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
    UniqueConstraint("media_pk", "label"),
    _one_of("status", Status),
    CheckConstraint("(status = 'storing') = (lease_holder IS NOT NULL)", name="lease"),
    CheckConstraint("(status = 'stored') = (blob_id IS NOT NULL)", name="blob"),
    CheckConstraint("status <> 'stored' OR retained_blob_id IS NULL", name="retained"),
)


def _partial(name: str, where: str, *columns: Column[object]) -> None:
    Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


_partial(
    "ix_variants_pending",
    "status = 'pending'",
    variants.c.connection_id,
    variants.c.origin_expires_at,
    variants.c.id,
    variants.c.run_at,
)
_partial("ix_variants_storing", "status = 'storing'", variants.c.connection_id, variants.c.lease_expires_at)
_partial("ix_variants_retained", "retained_blob_id IS NOT NULL", variants.c.removed_at)
Index("ix_variants_connection", variants.c.connection_id, variants.c.status, variants.c.id)
# Without these two, deleting a blob's row would look at every variant for one that refers to it.
_partial("ix_variants_blob", "blob_id IS NOT NULL", variants.c.blob_id)
_partial("ix_variants_retained_blob", "retained_blob_id IS NOT NULL", variants.c.retained_blob_id)

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
    _one_of("state", BlobState),
    CheckConstraint("state <> 'live' OR (sha256 IS NOT NULL AND refs > 0)", name="live_is_referenced"),
    CheckConstraint("state = 'live' OR refs = 0", name="only_live_is_referenced"),
)
_partial("ix_blobs_same_bytes", "state = 'live'", blobs.c.org_id, blobs.c.sha256)
_partial("ix_blobs_writing", "state = 'writing'", blobs.c.id)
_partial("ix_blobs_doomed", "state = 'doomed'", blobs.c.id)

#: One row a committed transition, written in its transaction (reliability, invariant 11). The sequence orders the
#: events of one variant: its row is locked from the move to the commit.
outbox = Table(
    "outbox",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("id", ByteText, nullable=False, unique=True),
    Column("org_id", ByteText, nullable=False),
    Column("connection_id", ByteText, nullable=False),
    Column("variant_id", ByteText, nullable=False),
    Column("event", ByteText, nullable=False),
    Column("reason", Text),
    Column("created_at", BigInteger, nullable=False),
)
