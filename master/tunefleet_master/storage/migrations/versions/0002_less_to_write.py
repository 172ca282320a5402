"""Indexes that reports do not change; indexes of running or finished trials contain only these."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OLD = (
    ("ix_trials_leases", ["state", "lease_deadline"]),
    ("ix_trials_ranking", ["study_id", "state", "value"]),
    ("ix_trials_exceptions", ["study_id", "exception"]),
    ("ix_trials_request_id", ["request_id"]),
    ("ix_trials_worker", ["worker"]),
)

NEW = (
    ("ix_trials_running", ["study_id"], "state = 'running'"),
    ("ix_trials_requests", ["worker", "request_id"], "state = 'running'"),
    ("ix_trials_ranking", ["study_id", "value"], "state = 'complete'"),
    ("ix_trials_exceptions", ["study_id", "exception"], "exception IS NOT NULL"),
)


def upgrade() -> None:
    """Change the indexes of trials."""
    for name, _ in OLD:
        op.drop_index(name, "trials")
    op.add_column("trials", sa.Column("interim_value", sa.Double(), nullable=True))
    for name, columns, where in NEW:
        op.create_index(name, "trials", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE trials SET (fillfactor = 80)")
        op.alter_column("events", "id", type_=sa.BigInteger())


def downgrade() -> None:
    """Revert the migration."""
    for name, _, _ in NEW:
        op.drop_index(name, "trials")
    op.drop_column("trials", "interim_value")
    for name, columns in OLD:
        op.create_index(name, "trials", columns)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE trials RESET (fillfactor)")
        op.alter_column("events", "id", type_=sa.Integer())
