"""Alembic's entry: runs the revisions on the connection that :mod:`labkit.store.schema` hands over."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=None, render_as_batch=connection.dialect.name == "sqlite")
context.run_migrations()
