"""The catalogue's migrations (Alembic), applied by :mod:`labkit.store.schema`."""
