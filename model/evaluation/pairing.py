"""Candidate against baseline on the same test rows, paired. Pure."""

from __future__ import annotations

import numpy as np

from model.errors import UserError
from model.evaluation.comparison import HIGHER_IS_BETTER, MEAN, Difference
from model.evaluation.config import EvaluationConfig
from model.evaluation.measurement import Cell, cells_of, defined, replicates_of, sizes_of
from model.evaluation.predictions import Predictions
from model.evaluation.slices import names_in
from model.metrics.delong import delong_covariance, paired_delong
from model.metrics.interval import percentile_interval
from model.metrics.user_bootstrap import METRICS


def differences(baseline: Predictions, candidate: Predictions, config: EvaluationConfig) -> list[Difference]:
    """Every metric, slice and task (the mean last), by bootstrap over users; then AUC by paired DeLong.

    Both sides see the same draws of users, so what makes a draw easy or hard for both cancels. Raises UserError where
    the two do not stand on the same rows.
    """
    check_same_rows(baseline, candidate)
    cells = cells_of(baseline), cells_of(candidate)
    values = [replicates_of(own, side, config) for own, side in zip(cells, (baseline, candidate), strict=True)]
    lower, upper = percentile_interval(values[1][1:] - values[0][1:], config.level)
    tasks = (*baseline.tasks, MEAN)
    sizes = sizes_of(cells[0], len(baseline.tasks))
    paired = [
        Difference(
            metric=metric,
            task=task,
            slice=name,
            baseline=defined(values[0][0, i, j, k]),
            candidate=defined(values[1][0, i, j, k]),
            difference=defined(values[1][0, i, j, k] - values[0][0, i, j, k]),
            lower=defined(lower[i, j, k]),
            upper=defined(upper[i, j, k]),
            level=config.level,
            n=sizes[i * len(tasks) + j][0],
            users=sizes[i * len(tasks) + j][1],
        )
        for metric, k in ((name, METRICS.index(name)) for name in HIGHER_IS_BETTER)
        for i, name in enumerate(names_in(baseline.slices))
        for j, task in enumerate(tasks)
    ]
    return paired + [_delong(*both, config.level) for both in zip(*cells, strict=True)]


def check_same_rows(baseline: Predictions, candidate: Predictions) -> None:
    """Raises UserError, saying what differs, unless both hold the same tasks, rows and labels."""
    if baseline.tasks != candidate.tasks:
        raise UserError(
            f"the evaluations measure different tasks: baseline {', '.join(baseline.tasks)}; "
            f"candidate {', '.join(candidate.tasks)}"
        )
    if len(baseline) != len(candidate):
        raise UserError(
            f"the evaluations stand on different test rows: baseline {len(baseline)}, candidate {len(candidate)}"
        )
    for name in ("user", "item", "time", "observed", "labels"):
        if not np.array_equal(getattr(baseline, name), getattr(candidate, name)):
            raise UserError(f"the evaluations stand on different test rows: column {name!r} differs")


def _delong(baseline: Cell, candidate: Cell, level: float) -> Difference:
    labels = baseline.sample.labels
    scores = baseline.sample.scores, candidate.sample.scores
    estimate = paired_delong(labels, *scores, level)
    aucs, _ = delong_covariance(labels, np.stack(scores))
    return Difference(
        metric="auc",
        task=baseline.task,
        slice=baseline.slice,
        baseline=defined(aucs[0]),
        candidate=defined(aucs[1]),
        difference=defined(estimate.value),
        lower=defined(estimate.lower),
        upper=defined(estimate.upper),
        level=level,
        n=baseline.size[0],
        users=baseline.size[1],
        method="delong",
    )
