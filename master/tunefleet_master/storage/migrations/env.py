"""Alembic's entry point; it runs the migrations on the connection that `upgrade` opened."""

from __future__ import annotations

from alembic import context

from tunefleet_master.storage.tables import Table

connection = context.config.attributes["connection"]
# SQLite cannot alter most properties of a table; batch mode copies the table instead.
context.configure(connection=connection, target_metadata=Table.metadata, render_as_batch=True)
context.run_migrations()
