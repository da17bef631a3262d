"""Alembic's environment: runs on the connection that `serving.evidence.migration` hands over."""

from __future__ import annotations

from alembic import context

from serving.evidence.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by making it anew
)
context.run_migrations()
