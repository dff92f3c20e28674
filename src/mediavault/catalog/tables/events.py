"""Events and who is told of them."""

from enum import StrEnum

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, Table, Text

from mediavault.catalog.tables.columns import ByteText, metadata, one_of, partial_index


class EndpointState(StrEnum):
    """Whether a webhook endpoint is told anything."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class DeliveryState(StrEnum):
    """How far one delivery is."""

    PENDING = "pending"  #: to be tried at `next_at`
    DELIVERED = "delivered"
    DEAD = "dead"  #: given up; can be redelivered by hand


#: One row a committed change, written in its transaction, numbered per organisation without gaps (`catalog/events.py`).
outbox = Table(
    "outbox",
    metadata,
    Column("org_id", ByteText, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("id", ByteText, nullable=False, unique=True),
    Column("connection_id", ByteText, nullable=False),
    Column("variant_id", ByteText),
    Column("type", ByteText, nullable=False),
    Column("data", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False, index=True),
)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", ByteText, primary_key=True),
    Column("org_id", ByteText, ForeignKey("organisations.id"), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("description", Text),
    Column("event_types", Text),
    Column("state", ByteText, nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("previous_secret", LargeBinary),
    Column("previous_secret_until", BigInteger),
    Column("disabled_reason", Text),
    Column("cursor_seq", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    one_of("state", EndpointState),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", ByteText, primary_key=True),
    Column("org_id", ByteText, nullable=False),
    Column("endpoint_id", ByteText, ForeignKey("webhook_endpoints.id"), nullable=False),
    Column("connection_id", ByteText, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("event_id", ByteText, nullable=False),
    Column("type", ByteText, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", ByteText, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Column("last_status", BigInteger),
    Column("last_error", Text),
    Column("delivered_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    one_of("state", DeliveryState),
)
Index("ix_webhook_deliveries_log", webhook_deliveries.c.endpoint_id, webhook_deliveries.c.id)
partial_index(
    "ix_webhook_deliveries_due",
    "state = 'pending'",
    webhook_deliveries.c.endpoint_id,
    webhook_deliveries.c.connection_id,
    webhook_deliveries.c.seq,
)
partial_index("ix_webhook_deliveries_leased", "state = 'pending' AND lease_until > 0", webhook_deliveries.c.endpoint_id)
partial_index("ix_webhook_deliveries_finished", "state != 'pending'", webhook_deliveries.c.created_at)
