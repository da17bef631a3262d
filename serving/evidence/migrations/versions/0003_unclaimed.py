"""Where exposures wait for their experiment to be registered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the table."""
    op.create_table(
        "unclaimed",
        sa.Column("experiment", sa.String(length=128), nullable=False),
        sa.Column("exposure_id", sa.String(length=256), nullable=False),
        sa.Column("unit", sa.String(length=256), nullable=False),
        sa.Column("came_us", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", "exposure_id", name=op.f("pk_unclaimed")),
    )


def downgrade() -> None:
    """Takes it away, with what waits there."""
    op.drop_table("unclaimed")
