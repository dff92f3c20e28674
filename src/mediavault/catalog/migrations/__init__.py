"""Alembic's tree: one for both engines."""
