"""How often the verdict itself is wrong: `win` and `harm` of whole experiments, looked at every day of a ramp.

Every user has a taste that stays, before and in the experiment; metrics are a ratio with a covariate, a proportion and
a capped, skewed mean with a covariate. Users are new each day.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import Row
from benchmarks.statistics.errors import ALPHA, percent
from serving.experiment.aggregate import Aggregate, Floats
from serving.experiment.analysis import Analysis, analyse
from serving.experiment.design import BASELINE, CANDIDATE, Arm, Design, Metric
from serving.experiment.evidence import ExperimentEvidence, Exposed, MetricEvidence, Stratum
from serving.experiment.verdict import verdict

WEIGHTS = (0.1, 0.1, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5)
UNITS_A_DAY = 2_000
MARGIN = 0.2
CLICKS = Metric("clicks", "ratio", "click", denominator="exposures", covariate="before", margin=MARGIN)
BUYERS = Metric("buyers", "proportion", "buy", role="non_inferior", margin=MARGIN)
SPENT = Metric("spent", "mean", "spent", cap=50.0, covariate="before", role="non_inferior", margin=MARGIN)
METRICS = (CLICKS, BUYERS, SPENT)


@dataclass(frozen=True)
class Truth:
    """Lifts of the three metrics."""

    name: str
    clicks: float = 0.0
    buyers: float = 0.0
    spent: float = 0.0
    win_is_wrong: bool = True
    harm_is_wrong: bool = True

    def lift(self, metric: Metric) -> float:
        """The metric's true lift."""
        return {CLICKS.name: self.clicks, BUYERS.name: self.buyers, SPENT.name: self.spent}[metric.name]


TRUTHS = (
    Truth("no effect"),
    Truth("clicks +15 %, buyers at their margin", clicks=0.15, buyers=-MARGIN),
    Truth("clicks at their margin", clicks=-MARGIN),
    Truth("buyers -95 %", buyers=-0.95, harm_is_wrong=False),
    Truth("clicks +15 %", clicks=0.15, win_is_wrong=False),
)


def _rows(lifted: Floats, truth: Truth, rng: np.random.Generator) -> dict[str, Floats]:
    """metric -> [n, C]. lifted: [n], 1 for units of the candidate. What is spent is lifted through who spends."""
    n = len(lifted)
    taste = rng.gamma(2.0, 0.5, n)
    before = rng.poisson(6 * taste).astype(np.float64)
    exposures = 1.0 + rng.poisson(5, n)
    clicks = rng.binomial(exposures.astype(np.int64), np.clip(0.15 * taste * (1 + truth.clicks * lifted), 0, 1))
    buys = rng.random(n) < np.clip(0.08 * taste * (1 + truth.buyers * lifted), 0, 1)
    spends = rng.random(n) < np.clip(0.2 * taste * (1 + truth.spent * lifted), 0, 1)
    spent = spends * np.minimum(rng.lognormal(1.0, 1.0, n), 50.0)
    return {
        CLICKS.name: np.column_stack([clicks, exposures, before]),
        BUYERS.name: buys[:, None].astype(np.float64),
        SPENT.name: np.column_stack([spent, before]),
    }


def experiment(truth: Truth, rng: np.random.Generator) -> list[Analysis]:
    """One experiment, analysed after each day."""
    design = Design("e", "s", "a", "b", METRICS, alpha=ALPHA, planned_units=UNITS_A_DAY * len(WEIGHTS))
    strata: dict[str, list[Stratum]] = {metric.name: [] for metric in METRICS}
    exposed: list[Exposed] = []
    looks: list[Analysis] = []
    for day, weight in enumerate(WEIGHTS):
        phase = WEIGHTS.index(weight)
        candidate: NDArray[np.bool_] = rng.random(UNITS_A_DAY) < weight
        rows = _rows(candidate.astype(np.float64), truth, rng)
        for metric in METRICS:
            values = rows[metric.name]
            arms = {arm: Aggregate.of(metric.columns, values[mask]) for arm, mask in _masks(candidate)}
            strata[metric.name].append(Stratum(phase, day, weight, arms))
        units = {arm: int(mask.sum()) for arm, mask in _masks(candidate)}
        exposed.append(Exposed(phase, day, weight, units, units))
        metrics = tuple(MetricEvidence(metric, tuple(strata[metric.name])) for metric in METRICS)
        looks.append(analyse(ExperimentEvidence(design, float(day), metrics, tuple(exposed)), forecast=False))
    return looks


def _masks(candidate: NDArray[np.bool_]) -> tuple[tuple[Arm, NDArray[np.bool_]], ...]:
    return (BASELINE, ~candidate), (CANDIDATE, candidate)


def misses(look: Analysis, truth: Truth) -> dict[str, bool]:
    """metric -> whether the always-valid interval of its lift misses the truth."""
    return {
        one.metric.name: not one.estimate.lift_interval.lower
        <= truth.lift(one.metric)
        <= one.estimate.lift_interval.upper
        for one in look.metrics
        if one.estimate is not None
    }


def verdict_error_row(truth: Truth, runs: int, seed: int) -> Row:
    """Percent of the runs that ever say `win`, `harm` or `invalid`, and whose intervals ever miss."""
    said = {kind: np.zeros(runs, dtype=bool) for kind in ("win", "harm", "invalid")}
    missed = {metric.name: np.zeros(runs, dtype=bool) for metric in METRICS}
    for run in range(runs):
        for look in experiment(truth, np.random.default_rng([seed, run])):
            kind = verdict(look).kind
            if kind != "inconclusive":
                said[kind][run] = True
            for name, miss in misses(look, truth).items():
                missed[name][run] |= miss
    wrong = {"win": truth.win_is_wrong, "harm": truth.harm_is_wrong, "invalid": True}
    return {
        "truth": truth.name,
        **{f"ever {kind}": f"{percent(one)}{'' if wrong[kind] else ' (right)'}" for kind, one in said.items()},
        **{f"{name} ever missed": percent(one) for name, one in missed.items()},
    }
