"""what the data plane and the durability checks need."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BYTE_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "policy_changes",
        sa.Column("id", BYTE_TEXT, nullable=False),
        sa.Column("org_id", BYTE_TEXT, nullable=False),
        sa.Column("connection_id", BYTE_TEXT, nullable=False),
        sa.Column("enabled_before", sa.Boolean(), nullable=False),
        sa.Column("overrides_before", sa.Text(), nullable=True),
        sa.Column("organisation_before", sa.Text(), nullable=False),
        sa.Column("worked_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["connection_id"], ["connections.id"], name=op.f("fk_policy_changes_connection_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policy_changes")),
    )
    with op.batch_alter_table("policy_changes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_policy_changes_worked_at"), ["worked_at"], unique=False)
    with op.batch_alter_table("webhook_deliveries", schema=None) as batch_op:
        batch_op.create_index(
            "ix_webhook_deliveries_finished",
            ["created_at"],
            unique=False,
            sqlite_where=sa.text("state != 'pending'"),
            postgresql_where=sa.text("state != 'pending'"),
        )
    with op.batch_alter_table("media", schema=None) as batch_op:
        for key in ("created_at", "cached_at", "duration_key"):
            batch_op.create_index(
                f"ix_media_waiting_{key}",
                ["connection_id", "status_mask", key, "id"],
                unique=False,
                sqlite_where=sa.text("(status_mask & 6) <> 0"),
                postgresql_where=sa.text("(status_mask & 6) <> 0"),
            )

    op.add_column("api_keys", sa.Column("expires_at", sa.BigInteger(), nullable=True))
    op.add_column("api_keys", sa.Column("last_used_at", sa.BigInteger(), nullable=True))
    op.add_column("api_keys", sa.Column("replaced_by", BYTE_TEXT, nullable=True))

    op.add_column("variants", sa.Column("derived_from", BYTE_TEXT, nullable=True))
    op.create_index(
        "ix_variants_derived",
        "variants",
        ["derived_from"],
        unique=False,
        sqlite_where=sa.text("derived_from IS NOT NULL"),
        postgresql_where=sa.text("derived_from IS NOT NULL"),
    )

    _quarantined_blobs()
    _moved_blobs()


def _quarantined_blobs() -> None:
    """One state more for blobs. SQLite cannot change a CHECK: there the table is made anew, with its rows."""
    before = sa.Table(
        "blobs",
        sa.MetaData(),
        sa.Column("id", BYTE_TEXT, nullable=False),
        sa.Column("org_id", BYTE_TEXT, nullable=False),
        sa.Column("state", BYTE_TEXT, nullable=False),
        sa.Column("variant_id", BYTE_TEXT, nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("sha256", BYTE_TEXT, nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("refs", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state <> 'live' OR (sha256 IS NOT NULL AND refs > 0)", name="ck_blobs_live_is_referenced"),
        sa.CheckConstraint("state = 'live' OR refs = 0", name="ck_blobs_only_live_is_referenced"),
        sa.CheckConstraint("state IN ('writing', 'live', 'doomed')", name="ck_blobs_state"),
        sa.PrimaryKeyConstraint("id", name="pk_blobs"),
    )
    with op.batch_alter_table("blobs", copy_from=before) as batch_op:
        batch_op.drop_constraint(op.f("ck_blobs_state"), type_="check")
        batch_op.create_check_constraint(
            op.f("ck_blobs_state"), "state IN ('writing', 'live', 'doomed', 'quarantined')"
        )
    indexes = {"doomed": ["id"], "same_bytes": ["org_id", "sha256"], "writing": ["id"], "quarantined": ["id"]}
    for name, columns in indexes.items():
        state = sa.text(f"state = '{'live' if name == 'same_bytes' else name}'")
        op.create_index(
            f"ix_blobs_{name}", "blobs", columns, if_not_exists=True, sqlite_where=state, postgresql_where=state
        )


def _moved_blobs() -> None:
    """Where a blob was moved to, and until when no sweep takes it for dead."""
    op.add_column("blobs", sa.Column("place", sa.Text(), nullable=True))
    op.add_column("blobs", sa.Column("keep_until", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_blobs_kept",
        "blobs",
        ["keep_until"],
        unique=False,
        sqlite_where=sa.text("keep_until IS NOT NULL"),
        postgresql_where=sa.text("keep_until IS NOT NULL"),
    )


def downgrade() -> None:
    """There is no way back but the backup that is made before a migration."""
    raise NotImplementedError("restore the backup instead")
