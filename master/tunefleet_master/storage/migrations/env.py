"""Alembic's entry: runs the migrations on the connection that `upgrade` opened."""

from __future__ import annotations

from alembic import context

from tunefleet_master.storage.tables import Table

connection = context.config.attributes["connection"]
# SQLite cannot alter most things of a table; batch mode copies it instead.
context.configure(connection=connection, target_metadata=Table.metadata, render_as_batch=True)
context.run_migrations()
