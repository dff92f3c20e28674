"""Tenants: organisations, their keys, their connections and what those have."""

from enum import StrEnum

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKey, LargeBinary, Table, Text

from mediavault.catalog.tables.columns import ByteText, metadata, one_of, partial_index


class ConnectionState(StrEnum):
    """The contract's connection statuses."""

    ACTIVE = "active"
    EXPIRED = "expired"
    AWAITING_2FA = "awaiting_2fa"


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
    Column("event_seq", BigInteger, nullable=False),
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
    Column("expires_at", BigInteger),
    Column("last_used_at", BigInteger),
    # The key that a rotation made to take its place.
    Column("replaced_by", ByteText),
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
    one_of("state", ConnectionState),
)
partial_index(
    "uq_connections_upstream_user",
    "disconnected_at IS NULL",
    connections.c.org_id,
    connections.c.upstream_base_url,
    connections.c.upstream_user_id,
    unique=True,
)

#: Changes of settings whose consequences are not all done: see `catalog/policy_changes.py`.
policy_changes = Table(
    "policy_changes",
    metadata,
    Column("id", ByteText, primary_key=True),
    Column("org_id", ByteText, nullable=False),
    Column("connection_id", ByteText, ForeignKey("connections.id"), nullable=False),
    Column("enabled_before", Boolean, nullable=False),
    Column("overrides_before", Text),
    Column("organisation_before", Text, nullable=False),
    Column("worked_at", BigInteger, nullable=False, index=True),
)

#: What a connection has, kept in the transaction of every change: see `catalog/usage.py`.
usage = Table(
    "usage",
    metadata,
    Column("connection_id", ByteText, ForeignKey("connections.id"), primary_key=True),
    Column("org_id", ByteText, nullable=False, index=True),
    Column("live_count", BigInteger, nullable=False),
    Column("stored_count", BigInteger, nullable=False),
    Column("stored_bytes", BigInteger, nullable=False),
    Column("reserved_bytes", BigInteger, nullable=False),
    CheckConstraint(
        "live_count >= 0 AND stored_count >= 0 AND stored_bytes >= 0 AND reserved_bytes >= 0", name="not_negative"
    ),
)
