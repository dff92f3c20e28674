"""the first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BYTE_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("id", BYTE_TEXT, nullable=False),
        sa.Column("org_id", BYTE_TEXT, nullable=False),
        sa.Column("state", BYTE_TEXT, nullable=False),
        sa.Column("variant_id", BYTE_TEXT, nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("sha256", BYTE_TEXT, nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("refs", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state <> 'live' OR (sha256 IS NOT NULL AND refs > 0)", name=op.f("ck_blobs_live_is_referenced")
        ),
        sa.CheckConstraint("state = 'live' OR refs = 0", name=op.f("ck_blobs_only_live_is_referenced")),
        sa.CheckConstraint("state IN ('writing', 'live', 'doomed')", name=op.f("ck_blobs_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blobs")),
    )
    with op.batch_alter_table("blobs", schema=None) as batch_op:
        batch_op.create_index(
            "ix_blobs_doomed",
            ["id"],
            unique=False,
            sqlite_where=sa.text("state = 'doomed'"),
            postgresql_where=sa.text("state = 'doomed'"),
        )
        batch_op.create_index(
            "ix_blobs_same_bytes",
            ["org_id", "sha256"],
            unique=False,
            sqlite_where=sa.text("state = 'live'"),
            postgresql_where=sa.text("state = 'live'"),
        )
        batch_op.create_index(
            "ix_blobs_writing",
            ["id"],
            unique=False,
            sqlite_where=sa.text("state = 'writing'"),
            postgresql_where=sa.text("state = 'writing'"),
        )

    op.create_table(
        "installation",
        sa.Column("name", BYTE_TEXT, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_installation")),
    )
    op.create_table(
        "organisations",
        sa.Column("id", BYTE_TEXT, nullable=False),
        sa.Column("name", BYTE_TEXT, nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("event_seq", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organisations")),
        sa.UniqueConstraint("name", name=op.f("uq_organisations_name")),
    )
    op.create_table(
        "outbox",
        sa.Column("org_id", BYTE_TEXT, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("id", BYTE_TEXT, nullable=False),
        sa.Column("connection_id", BYTE_TEXT, nullable=False),
        sa.Column("variant_id", BYTE_TEXT, nullable=True),
        sa.Column("type", BYTE_TEXT, nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("org_id", "seq", name=op.f("pk_outbox")),
        sa.UniqueConstraint("id", name=op.f("uq_outbox_id")),
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_outbox_created_at"), ["created_at"], unique=False)

    op.create_table(
        "api_keys",
        sa.Column("id", BYTE_TEXT, nullable=False),
        sa.Column("org_id", BYTE_TEXT, nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("prefix", BYTE_TEXT, nullable=False),
        sa.Column("sha256", BYTE_TEXT, nullable=False),
        sa.Column("scopes", BYTE_TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name=op.f("fk_api_keys_org_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("sha256", name=op.f("uq_api_keys_sha256")),
    )
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_api_keys_org_id"), ["org_id"], unique=False)

    op.create_table(
        "connections",
        sa.Column("id", BYTE_TEXT, nullable=False),
        sa.Column("org_id", BYTE_TEXT, nullable=False),
        sa.Column("state", BYTE_TEXT, nullable=False),
        sa.Column("upstream_base_url", BYTE_TEXT, nullable=False),
        sa.Column("upstream_user_id", BYTE_TEXT, nullable=False),
        sa.Column("user_data", sa.Text(), nullable=False),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.Column("client_reference_id", sa.Text(), nullable=True),
        sa.Column("session", sa.LargeBinary(), nullable=False),
        sa.Column("vault_plus_enabled", sa.Boolean(), nullable=False),
        sa.Column("settings_overrides", sa.Text(), nullable=True),
        sa.Column("max_inflight", sa.BigInteger(), nullable=False),
        sa.Column("served_at", sa.BigInteger(), nullable=False),
        sa.Column("paused_until", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("expired_at", sa.BigInteger(), nullable=True),
        sa.Column("last_checked_at", sa.BigInteger(), nullable=True),
        sa.Column("disconnected_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state IN ('active', 'expired', 'awaiting_2fa')", name=op.f("ck_connections_state")),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name=op.f("fk_connections_org_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connections")),
    )
    with op.batch_alter_table("connections", schema=None) as batch_op:
        batch_op.create_index(
            "uq_connections_upstream_user",
            ["org_id", "upstream_base_url", "upstream_user_id"],
            unique=True,
            sqlite_where=sa.text("disconnected_at IS NULL"),
            postgresql_where=sa.text("disconnected_at IS NULL"),
        )

    op.create_table(
        "webhook_endpoints",
        sa.Column("id", BYTE_TEXT, nullable=False),
        sa.Column("org_id", BYTE_TEXT, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("event_types", sa.Text(), nullable=True),
        sa.Column("state", BYTE_TEXT, nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("previous_secret", sa.LargeBinary(), nullable=True),
        sa.Column("previous_secret_until", sa.BigInteger(), nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("cursor_seq", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('enabled', 'disabled')", name=op.f("ck_webhook_endpoints_state")),
        sa.ForeignKeyConstraint(["org_id"], ["organisations.id"], name=op.f("fk_webhook_endpoints_org_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoints")),
    )
    with op.batch_alter_table("webhook_endpoints", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_webhook_endpoints_org_id"), ["org_id"], unique=False)

    op.create_table(
        "lists",
        sa.Column("id", BYTE_TEXT, nullable=False),
        sa.Column("org_id", BYTE_TEXT, nullable=False),
        sa.Column("connection_id", BYTE_TEXT, nullable=False),
        sa.Column("list_id", BYTE_TEXT, nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("baseline_at", sa.BigInteger(), nullable=True),
        sa.Column("last_synced_at", sa.BigInteger(), nullable=True),
        sa.Column("last_added_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["connection_id"], ["connections.id"], name=op.f("fk_lists_connection_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lists")),
        sa.UniqueConstraint("connection_id", "list_id", name=op.f("uq_lists_connection_id_list_id")),
    )
    op.create_table(
        "media",
        sa.Column("id", BYTE_TEXT, nullable=False),
        sa.Column("org_id", BYTE_TEXT, nullable=False),
        sa.Column("connection_id", BYTE_TEXT, nullable=False),
        sa.Column("media_id", BYTE_TEXT, nullable=False),
        sa.Column("type", BYTE_TEXT, nullable=False),
        sa.Column("duration", sa.Double(), nullable=True),
        sa.Column("sources", BYTE_TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("status_mask", sa.BigInteger(), nullable=False),
        sa.Column("shown_type", BYTE_TEXT, nullable=False),
        sa.Column("cached_at", sa.BigInteger(), nullable=False),
        sa.Column("duration_key", sa.Double(), nullable=False),
        sa.Column("pinned_at", sa.BigInteger(), nullable=True),
        sa.Column("pinned_until", sa.BigInteger(), nullable=True),
        sa.Column("pin_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("type IN ('image', 'video', 'audio')", name=op.f("ck_media_type")),
        sa.ForeignKeyConstraint(["connection_id"], ["connections.id"], name=op.f("fk_media_connection_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_media")),
        sa.UniqueConstraint("connection_id", "media_id", name=op.f("uq_media_connection_id_media_id")),
    )
    with op.batch_alter_table("media", schema=None) as batch_op:
        batch_op.create_index(
            "ix_media_by_cached_at",
            ["connection_id", "cached_at", "id"],
            unique=False,
            sqlite_where=sa.text("status_mask <> 0"),
            postgresql_where=sa.text("status_mask <> 0"),
        )
        batch_op.create_index(
            "ix_media_by_created_at",
            ["connection_id", "created_at", "id"],
            unique=False,
            sqlite_where=sa.text("status_mask <> 0"),
            postgresql_where=sa.text("status_mask <> 0"),
        )
        batch_op.create_index(
            "ix_media_by_duration_key",
            ["connection_id", "duration_key", "id"],
            unique=False,
            sqlite_where=sa.text("status_mask <> 0"),
            postgresql_where=sa.text("status_mask <> 0"),
        )

    op.create_table(
        "usage",
        sa.Column("connection_id", BYTE_TEXT, nullable=False),
        sa.Column("org_id", BYTE_TEXT, nullable=False),
        sa.Column("live_count", sa.BigInteger(), nullable=False),
        sa.Column("stored_count", sa.BigInteger(), nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("reserved_bytes", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "live_count >= 0 AND stored_count >= 0 AND stored_bytes >= 0 AND reserved_bytes >= 0",
            name=op.f("ck_usage_not_negative"),
        ),
        sa.ForeignKeyConstraint(["connection_id"], ["connections.id"], name=op.f("fk_usage_connection_id")),
        sa.PrimaryKeyConstraint("connection_id", name=op.f("pk_usage")),
    )
    with op.batch_alter_table("usage", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_usage_org_id"), ["org_id"], unique=False)

    op.create_table(
        "webhook_deliveries",
        sa.Column("id", BYTE_TEXT, nullable=False),
        sa.Column("org_id", BYTE_TEXT, nullable=False),
        sa.Column("endpoint_id", BYTE_TEXT, nullable=False),
        sa.Column("connection_id", BYTE_TEXT, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("event_id", BYTE_TEXT, nullable=False),
        sa.Column("type", BYTE_TEXT, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", BYTE_TEXT, nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("last_status", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("delivered_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'dead')", name=op.f("ck_webhook_deliveries_state")),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["webhook_endpoints.id"], name=op.f("fk_webhook_deliveries_endpoint_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    with op.batch_alter_table("webhook_deliveries", schema=None) as batch_op:
        batch_op.create_index(
            "ix_webhook_deliveries_due",
            ["endpoint_id", "connection_id", "seq"],
            unique=False,
            sqlite_where=sa.text("state = 'pending'"),
            postgresql_where=sa.text("state = 'pending'"),
        )
        batch_op.create_index(
            "ix_webhook_deliveries_leased",
            ["endpoint_id"],
            unique=False,
            sqlite_where=sa.text("state = 'pending' AND lease_until > 0"),
            postgresql_where=sa.text("state = 'pending' AND lease_until > 0"),
        )
        batch_op.create_index("ix_webhook_deliveries_log", ["endpoint_id", "id"], unique=False)

    op.create_table(
        "list_items",
        sa.Column("list_pk", BYTE_TEXT, nullable=False),
        sa.Column("media_pk", BYTE_TEXT, nullable=False),
        sa.Column("org_id", BYTE_TEXT, nullable=False),
        sa.Column("in_baseline", sa.Boolean(), nullable=False),
        sa.Column("fingerprint", BYTE_TEXT, nullable=False),
        sa.Column("first_added_at", sa.BigInteger(), nullable=False),
        sa.Column("last_added_at", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("last_synced_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["list_pk"], ["lists.id"], name=op.f("fk_list_items_list_pk")),
        sa.ForeignKeyConstraint(["media_pk"], ["media.id"], name=op.f("fk_list_items_media_pk")),
        sa.PrimaryKeyConstraint("list_pk", "media_pk", name=op.f("pk_list_items")),
    )
    with op.batch_alter_table("list_items", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_list_items_media_pk"), ["media_pk"], unique=False)

    op.create_table(
        "variants",
        sa.Column("id", BYTE_TEXT, nullable=False),
        sa.Column("org_id", BYTE_TEXT, nullable=False),
        sa.Column("connection_id", BYTE_TEXT, nullable=False),
        sa.Column("media_pk", BYTE_TEXT, nullable=False),
        sa.Column("label", BYTE_TEXT, nullable=False),
        sa.Column("status", BYTE_TEXT, nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("content_type", BYTE_TEXT, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("access_count", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_accessed_at", sa.BigInteger(), nullable=False),
        sa.Column("stored_at", sa.BigInteger(), nullable=True),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.Column("origin_url", sa.LargeBinary(), nullable=False),
        sa.Column("origin_key", BYTE_TEXT, nullable=False),
        sa.Column("origin_expires_at", sa.BigInteger(), nullable=False),
        sa.Column("observed_path", sa.Text(), nullable=False),
        sa.Column("version", BYTE_TEXT, nullable=True),
        sa.Column("blob_id", BYTE_TEXT, nullable=True),
        sa.Column("retained_blob_id", BYTE_TEXT, nullable=True),
        sa.Column("run_at", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("crashes", sa.BigInteger(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("lease_holder", BYTE_TEXT, nullable=True),
        sa.Column("lease_expires_at", sa.BigInteger(), nullable=True),
        sa.Column("reserved_bytes", sa.BigInteger(), nullable=False),
        sa.Column("kept_out", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.CheckConstraint("(status = 'stored') = (blob_id IS NOT NULL)", name=op.f("ck_variants_blob")),
        sa.CheckConstraint("(status = 'storing') = (lease_holder IS NOT NULL)", name=op.f("ck_variants_lease")),
        sa.CheckConstraint("status <> 'stored' OR retained_blob_id IS NULL", name=op.f("ck_variants_retained")),
        sa.CheckConstraint(
            "status IN ('edge_only', 'pending', 'storing', 'stored', 'removed')", name=op.f("ck_variants_status")
        ),
        sa.ForeignKeyConstraint(["blob_id"], ["blobs.id"], name=op.f("fk_variants_blob_id")),
        sa.ForeignKeyConstraint(["media_pk"], ["media.id"], name=op.f("fk_variants_media_pk")),
        sa.ForeignKeyConstraint(["retained_blob_id"], ["blobs.id"], name=op.f("fk_variants_retained_blob_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_variants")),
        sa.UniqueConstraint("media_pk", "label", name=op.f("uq_variants_media_pk_label")),
    )
    with op.batch_alter_table("variants", schema=None) as batch_op:
        batch_op.create_index(
            "ix_variants_blob",
            ["blob_id"],
            unique=False,
            sqlite_where=sa.text("blob_id IS NOT NULL"),
            postgresql_where=sa.text("blob_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_variants_at_risk",
            ["connection_id", "origin_expires_at", "id"],
            unique=False,
            sqlite_where=sa.text("status IN ('edge_only', 'pending', 'storing')"),
            postgresql_where=sa.text("status IN ('edge_only', 'pending', 'storing')"),
        )
        batch_op.create_index(
            "ix_variants_by_size",
            ["connection_id", "size_bytes", "id"],
            unique=False,
            sqlite_where=sa.text("status = 'stored'"),
            postgresql_where=sa.text("status = 'stored'"),
        )
        batch_op.create_index(
            "ix_variants_by_view",
            ["connection_id", "last_accessed_at"],
            unique=False,
            sqlite_where=sa.text("status = 'stored'"),
            postgresql_where=sa.text("status = 'stored'"),
        )
        batch_op.create_index("ix_variants_connection", ["connection_id", "status", "id"], unique=False)
        batch_op.create_index(
            "ix_variants_pending",
            ["connection_id", "origin_expires_at", "id", "run_at"],
            unique=False,
            sqlite_where=sa.text("status = 'pending'"),
            postgresql_where=sa.text("status = 'pending'"),
        )
        batch_op.create_index(
            "ix_variants_retained",
            ["removed_at"],
            unique=False,
            sqlite_where=sa.text("retained_blob_id IS NOT NULL"),
            postgresql_where=sa.text("retained_blob_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_variants_retained_blob",
            ["retained_blob_id"],
            unique=False,
            sqlite_where=sa.text("retained_blob_id IS NOT NULL"),
            postgresql_where=sa.text("retained_blob_id IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_variants_stored",
            ["connection_id", "stored_at", "id"],
            unique=False,
            sqlite_where=sa.text("status = 'stored'"),
            postgresql_where=sa.text("status = 'stored'"),
        )
        batch_op.create_index(
            "ix_variants_storing",
            ["connection_id", "lease_expires_at"],
            unique=False,
            sqlite_where=sa.text("status = 'storing'"),
            postgresql_where=sa.text("status = 'storing'"),
        )


def downgrade() -> None:
    """There is no way back but the backup that is made before a migration."""
    raise NotImplementedError("restore the backup instead")
