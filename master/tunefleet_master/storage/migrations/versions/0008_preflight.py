"""The preflight of a study."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("studies", sa.Column("preflight", sa.String(16), nullable=True))
    op.add_column("studies", sa.Column("preflight_report", sa.Text(), nullable=True))


def downgrade() -> None:
    """Revert the migration."""
    for column in ("preflight", "preflight_report"):
        op.drop_column("studies", column)
