"""Trials as segments of the training of a population's members."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("trials", sa.Column("member", sa.Integer(), nullable=True))
    op.add_column("trials", sa.Column("parent", sa.Integer(), nullable=True))
    op.add_column("trials", sa.Column("until", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Revert the migration."""
    for column in ("member", "parent", "until"):
        op.drop_column("trials", column)
