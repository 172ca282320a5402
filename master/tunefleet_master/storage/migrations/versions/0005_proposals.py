"""Origins of proposals, versions of spaces, and workers that wait for trials."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NAMES = {
    "studies": ("version",),
    "trials": ("batch", "saw", "sampler_version", "version"),
    "workers": ("asks", "asks_study", "asks_until"),
}


def upgrade() -> None:
    """Add the columns."""
    op.add_column("studies", sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("trials", sa.Column("batch", sa.Integer(), nullable=True))
    op.add_column("trials", sa.Column("saw", sa.BigInteger(), nullable=True))
    op.add_column("trials", sa.Column("sampler_version", sa.Integer(), nullable=True))
    op.add_column("trials", sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("workers", sa.Column("asks", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("workers", sa.Column("asks_study", sa.String(100), nullable=True))
    op.add_column("workers", sa.Column("asks_until", sa.Double(), nullable=True))


def downgrade() -> None:
    """Revert the migration."""
    for table, columns in NAMES.items():
        for column in columns:
            op.drop_column(table, column)
