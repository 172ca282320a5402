"""The number of trials with thinned curves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("studies", sa.Column("n_thinned", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Revert the migration."""
    op.drop_column("studies", "n_thinned")
