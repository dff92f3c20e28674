"""indexes that answer pages of media by themselves, and one of the content types that few media have."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    keys = ("created_at", "cached_at", "duration_key")
    for key in keys:
        op.drop_index(f"ix_media_by_{key}", "media")
        others = [other for other in keys if other != key]
        _partial_index(
            f"ix_media_by_{key}", "media", ["connection_id", key, "id", *others, "shown_type"], "status_mask <> 0"
        )
    _partial_index(
        "ix_variants_content_type",
        "variants",
        ["connection_id", "content_type", "media_pk"],
        "status <> 'removed' AND content_type <> 'image/jpeg'",
    )


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, unique=False, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
