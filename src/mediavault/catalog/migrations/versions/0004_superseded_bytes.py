"""since when the bytes were stored that are to stay until newer ones are."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("variants", sa.Column("retained_stored_at", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_variants_superseded",
        "variants",
        ["connection_id", "id"],
        unique=False,
        sqlite_where=sa.text("retained_stored_at IS NOT NULL"),
        postgresql_where=sa.text("retained_stored_at IS NOT NULL"),
    )
    # What is being fetched anew, or could not be, keeps what it has. When that was stored is not known any more: its
    # time begins with its removal.
    variants = sa.table(
        "variants", *map(sa.column, ("retained_stored_at", "removed_at", "retained_blob_id", "status", "attempts"))
    )
    anew = sa.or_(
        variants.c.status.in_(["pending", "storing"]),
        sa.and_(variants.c.status == "edge_only", variants.c.attempts > 0),
    )
    keeping = sa.update(variants).where(variants.c.retained_blob_id.is_not(None), anew)
    op.execute(keeping.values(retained_stored_at=variants.c.removed_at))
