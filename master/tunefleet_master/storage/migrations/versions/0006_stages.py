"""The stage of a coarse-to-fine study, and the box that it searches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("studies", sa.Column("stage", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("studies", sa.Column("box", sa.Text(), nullable=False, server_default="{}"))


def downgrade() -> None:
    """Revert the migration."""
    op.drop_column("studies", "stage")
    op.drop_column("studies", "box")
