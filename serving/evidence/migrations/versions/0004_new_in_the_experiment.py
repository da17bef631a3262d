"""Units are new once in an experiment, not once in each run; exposures that wait are counted, and found by age."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Counts new units again, where rows of units are kept; adds a table and indexes."""
    _count_again(sa.text(_IN_THE_EXPERIMENT))
    op.create_index(op.f("ix_unclaimed_came_us"), "unclaimed", ["came_us"])
    op.create_index(op.f("ix_unclaimed_unit"), "unclaimed", ["unit"])
    op.create_table(
        "unclaimed_counts",
        sa.Column("experiment", sa.String(length=128), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("experiment", name=op.f("pk_unclaimed_counts")),
    )
    op.execute("INSERT INTO unclaimed_counts SELECT experiment, count(*) FROM unclaimed GROUP BY experiment")


def downgrade() -> None:
    """Counts new units by run."""
    op.drop_table("unclaimed_counts")
    op.drop_index("ix_unclaimed_unit", "unclaimed")
    op.drop_index("ix_unclaimed_came_us", "unclaimed")
    _count_again(sa.text(_IN_THE_RUN))


def _count_again(first: sa.TextClause) -> None:
    op.execute(_NONE)
    op.execute(first)


_NONE = """
UPDATE exposed SET new_units = 0 WHERE run_id IN (
    SELECT runs.id FROM runs JOIN experiments ON experiments.id = runs.experiment_id WHERE experiments.ended_us IS NULL
)"""  # of those that ended no row of a unit is left

_IN_THE_EXPERIMENT = """
UPDATE exposed SET new_units = found.number FROM (
    SELECT run_id, phase, slice, arm, count(*) AS number FROM (
        SELECT run_id, phase, slice, arm, crossed,
            row_number() OVER (PARTITION BY experiment_id, unit ORDER BY entry_us, phase) AS place
        FROM unit_phases
    ) AS numbered
    WHERE place = 1 AND NOT crossed GROUP BY run_id, phase, slice, arm
) AS found
WHERE found.run_id = exposed.run_id AND found.phase = exposed.phase AND found.slice = exposed.slice
    AND found.arm = exposed.arm"""

_IN_THE_RUN = _IN_THE_EXPERIMENT.replace("experiment_id, unit", "experiment_id, run_id, unit")
