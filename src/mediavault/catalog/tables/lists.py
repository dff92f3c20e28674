"""The creator's upstream lists as far as they were added or synced, and what is in them."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Table, Text, UniqueConstraint

from mediavault.catalog.tables.columns import ByteText, metadata

lists = Table(
    "lists",
    metadata,
    Column("id", ByteText, primary_key=True),
    Column("org_id", ByteText, nullable=False),
    Column("connection_id", ByteText, ForeignKey("connections.id"), nullable=False),
    Column("list_id", ByteText, nullable=False),
    Column("name", Text),
    Column("type", Text),
    Column("baseline_at", BigInteger),
    Column("last_synced_at", BigInteger),
    Column("last_added_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("connection_id", "list_id"),
)

list_items = Table(
    "list_items",
    metadata,
    Column("list_pk", ByteText, ForeignKey("lists.id"), primary_key=True),
    Column("media_pk", ByteText, ForeignKey("media.id"), primary_key=True, index=True),
    Column("org_id", ByteText, nullable=False),
    Column("in_baseline", Boolean, nullable=False),
    Column("fingerprint", ByteText, nullable=False),
    Column("first_added_at", BigInteger, nullable=False),
    Column("last_added_at", BigInteger, nullable=False),
    Column("last_seen_at", BigInteger, nullable=False),
    Column("last_synced_at", BigInteger),
)
