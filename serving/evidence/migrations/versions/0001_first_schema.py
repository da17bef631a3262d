"""The first schema: experiments, raw events, rows of units, aggregates."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_EXACT = sa.Text().with_variant(sa.Numeric(), "postgresql")


def upgrade() -> None:
    """Makes all tables."""
    op.create_table(
        "experiments",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("settled_us", sa.BigInteger(), nullable=False),
        sa.Column("horizon_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiments")),
        sa.UniqueConstraint("name", name=op.f("uq_experiments_name")),
    )
    op.create_table(
        "exposures",
        sa.Column("experiment_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("exposure_id", sa.String(length=256), nullable=False),
        sa.Column("unit", sa.String(length=256), nullable=False),
        sa.Column("request_id", sa.String(length=256), nullable=True),
        sa.Column("arm", sa.String(length=9), nullable=False),
        sa.Column("digest", sa.String(length=256), nullable=False),
        sa.Column("phase", sa.Integer(), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("propensity", sa.Float(), nullable=True),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("experiment_id", "exposure_id", name=op.f("pk_exposures")),
    )
    op.create_index(
        op.f("ix_exposures_experiment_id_request_id"), "exposures", ["experiment_id", "request_id"], unique=False
    )
    op.create_index(
        op.f("ix_exposures_experiment_id_unit_time_us"), "exposures", ["experiment_id", "unit", "time_us"], unique=False
    )
    op.create_table(
        "log_positions",
        sa.Column("path", sa.String(length=1024), nullable=False),
        sa.Column("inode", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_log_positions")),
    )
    op.create_table(
        "outcomes",
        sa.Column("experiment_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.String(length=256), nullable=False),
        sa.Column("metric", sa.String(length=128), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.String(length=256), nullable=True),
        sa.Column("exposure_id", sa.String(length=256), nullable=True),
        sa.Column("request_id", sa.String(length=256), nullable=True),
        sa.Column("owner", sa.String(length=256), nullable=True),
        sa.PrimaryKeyConstraint("experiment_id", "event_id", name=op.f("pk_outcomes")),
    )
    op.create_index(
        "ix_outcomes_by_exposure",
        "outcomes",
        ["experiment_id", "exposure_id"],
        unique=False,
        postgresql_where=sa.text("exposure_id IS NOT NULL"),
        sqlite_where=sa.text("exposure_id IS NOT NULL"),
    )
    op.create_index(
        "ix_outcomes_by_request",
        "outcomes",
        ["experiment_id", "request_id"],
        unique=False,
        postgresql_where=sa.text("request_id IS NOT NULL"),
        sqlite_where=sa.text("request_id IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_outcomes_experiment_id_owner_metric_time_us"),
        "outcomes",
        ["experiment_id", "owner", "metric", "time_us"],
        unique=False,
    )
    op.create_table(
        "unit_phases",
        sa.Column("experiment_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("unit", sa.String(length=256), nullable=False),
        sa.Column("phase", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("arm", sa.String(length=9), nullable=False),
        sa.Column("entry_us", sa.BigInteger(), nullable=False),
        sa.Column("slice", sa.Integer(), nullable=False),
        sa.Column("crossed", sa.Boolean(), nullable=False),
        sa.Column("totals", sa.Text(), nullable=False),
        sa.Column("due_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("experiment_id", "unit", "phase", name=op.f("pk_unit_phases")),
    )
    op.create_index(
        "ix_unit_phases_due",
        "unit_phases",
        ["experiment_id", "due_us"],
        unique=False,
        postgresql_where=sa.text("due_us IS NOT NULL"),
        sqlite_where=sa.text("due_us IS NOT NULL"),
    )
    op.create_table(
        "units",
        sa.Column("experiment_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("unit", sa.String(length=256), nullable=False),
        sa.Column("timeline", sa.Text(), nullable=False),
        sa.Column("covariates", sa.Text(), nullable=False),
        sa.Column("excluded", sa.Text(), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("capped", sa.Boolean(), nullable=False),
        sa.Column("folded", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("experiment_id", "unit", name=op.f("pk_units")),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("experiment_id", sa.Integer(), nullable=False),
        sa.Column("baseline_digest", sa.String(length=256), nullable=False),
        sa.Column("candidate_digest", sa.String(length=256), nullable=False),
        sa.Column("design", sa.Text(), nullable=False),
        sa.Column("bounds", sa.Text(), nullable=False),
        sa.Column("registered_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiments.id"], name=op.f("fk_runs_experiment_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint(
            "experiment_id",
            "baseline_digest",
            "candidate_digest",
            name=op.f("uq_runs_experiment_id_baseline_digest_candidate_digest"),
        ),
    )
    op.create_table(
        "tallies",
        sa.Column("experiment_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("phase", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", _EXACT, nullable=False),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiments.id"], name=op.f("fk_tallies_experiment_id")),
        sa.PrimaryKeyConstraint("experiment_id", "kind", "phase", name=op.f("pk_tallies")),
    )
    op.create_table(
        "aggregates",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("metric", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("phase", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slice", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("arm", sa.String(length=9), nullable=False),
        sa.Column("units", _EXACT, nullable=False),
        sa.Column("late", _EXACT, nullable=False),
        sa.Column("value", _EXACT, nullable=False),
        sa.Column("denominator", _EXACT, nullable=False),
        sa.Column("covariate", _EXACT, nullable=False),
        sa.Column("value_value", _EXACT, nullable=False),
        sa.Column("value_denominator", _EXACT, nullable=False),
        sa.Column("value_covariate", _EXACT, nullable=False),
        sa.Column("denominator_denominator", _EXACT, nullable=False),
        sa.Column("denominator_covariate", _EXACT, nullable=False),
        sa.Column("covariate_covariate", _EXACT, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_aggregates_run_id")),
        sa.PrimaryKeyConstraint("run_id", "metric", "phase", "slice", "arm", name=op.f("pk_aggregates")),
    )
    op.create_table(
        "cross_aggregates",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("metric", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("phase_a", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slice_a", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("arm_a", sa.String(length=9), nullable=False),
        sa.Column("phase_b", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slice_b", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("arm_b", sa.String(length=9), nullable=False),
        sa.Column("units", _EXACT, nullable=False),
        sa.Column("value_a", _EXACT, nullable=False),
        sa.Column("denominator_a", _EXACT, nullable=False),
        sa.Column("covariate_a", _EXACT, nullable=False),
        sa.Column("value_b", _EXACT, nullable=False),
        sa.Column("denominator_b", _EXACT, nullable=False),
        sa.Column("covariate_b", _EXACT, nullable=False),
        sa.Column("value_value", _EXACT, nullable=False),
        sa.Column("value_denominator", _EXACT, nullable=False),
        sa.Column("value_covariate", _EXACT, nullable=False),
        sa.Column("denominator_value", _EXACT, nullable=False),
        sa.Column("denominator_denominator", _EXACT, nullable=False),
        sa.Column("denominator_covariate", _EXACT, nullable=False),
        sa.Column("covariate_value", _EXACT, nullable=False),
        sa.Column("covariate_denominator", _EXACT, nullable=False),
        sa.Column("covariate_covariate", _EXACT, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_cross_aggregates_run_id")),
        sa.PrimaryKeyConstraint(
            "run_id",
            "metric",
            "phase_a",
            "slice_a",
            "arm_a",
            "phase_b",
            "slice_b",
            "arm_b",
            name=op.f("pk_cross_aggregates"),
        ),
    )
    op.create_table(
        "exposed",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("phase", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slice", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("arm", sa.String(length=9), nullable=False),
        sa.Column("units", _EXACT, nullable=False),
        sa.Column("new_units", _EXACT, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_exposed_run_id")),
        sa.PrimaryKeyConstraint("run_id", "phase", "slice", "arm", name=op.f("pk_exposed")),
    )
    op.create_table(
        "phases",
        sa.Column("experiment_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("phase", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("start_us", sa.BigInteger(), nullable=False),
        sa.Column("candidate_weight", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiments.id"], name=op.f("fk_phases_experiment_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_phases_run_id")),
        sa.PrimaryKeyConstraint("experiment_id", "phase", name=op.f("pk_phases")),
    )
    op.create_table(
        "snapshots",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("as_of_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("evidence", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_snapshots_run_id")),
        sa.PrimaryKeyConstraint("run_id", "as_of_us", name=op.f("pk_snapshots")),
    )


def downgrade() -> None:
    """Drops them."""
    for table in (
        "snapshots",
        "phases",
        "exposed",
        "cross_aggregates",
        "aggregates",
        "tallies",
        "runs",
        "units",
        "unit_phases",
        "outcomes",
        "log_positions",
        "exposures",
        "experiments",
    ):
        op.drop_table(table)
