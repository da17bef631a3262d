"""Time of a verdict from the aggregates of 100 million exposed units."""

from __future__ import annotations

import json
import time

import numpy as np

from benchmarks.results import Row
from serving.experiment.aggregate import Aggregate, CrossAggregate, StratumKey
from serving.experiment.analysis import analyse
from serving.experiment.design import ARMS, BASELINE, CANDIDATE, Arm, Design, Metric
from serving.experiment.evidence import ExperimentEvidence, Exposed, MetricEvidence, Stratum
from serving.experiment.verdict import verdict

UNITS = 100_000_000
RAMP = (0.01, 0.05, 0.10, 0.20, 0.35, 0.50)
SLICES = 7


def large_evidence(metrics: int, seed: int = 0) -> ExperimentEvidence:
    """Six phases of seven slices, all pairs of which share units; `metrics` ratios with a covariate."""
    rng = np.random.default_rng(seed)
    defined = tuple(
        Metric(f"ratio_{at}", "ratio", "click", denominator="exposures", covariate="before") for at in range(metrics)
    )
    design = Design("large", "salt", "a", "b", defined, planned_units=UNITS)
    cells = [(phase, place) for phase in range(len(RAMP)) for place in range(SLICES)]
    rows = UNITS // len(cells)
    counts = {
        (key, arm): int(rows * (weight if arm == "candidate" else 1 - weight))
        for key in cells
        for arm, weight in ((arm, RAMP[key[0]]) for arm in ARMS)
    }
    evidence = tuple(_metric(metric, counts, cells, rng) for metric in defined)
    exposed = tuple(
        Exposed(phase, place, RAMP[phase], {arm: counts[(phase, place), arm] for arm in ARMS}) for phase, place in cells
    )
    return ExperimentEvidence(design, 1.0, evidence, exposed)


def _metric(
    metric: Metric,
    counts: dict[tuple[StratumKey, Arm], int],
    cells: list[StratumKey],
    rng: np.random.Generator,
) -> MetricEvidence:
    covariance = np.array([[2.0, 4.0, 0.5], [4.0, 30.0, 2.0], [0.5, 2.0, 1.0]])

    def cell(count: int) -> Aggregate:
        noise = rng.multivariate_normal(np.zeros(3), covariance / count)
        return Aggregate(metric.columns, count, np.array([1.0, 10.0, 0.5]) + noise, covariance * count)

    strata = tuple(Stratum(*key, RAMP[key[0]], {arm: cell(counts[key, arm]) for arm in ARMS}) for key in cells)
    mean = np.array([1.0, 10.0, 0.5])
    cross = tuple(
        CrossAggregate(a, arm_a, b, arm_b, shared, mean * shared, mean * shared, _products(mean, covariance, shared))
        for a in cells
        for b in cells
        if a[0] < b[0]
        for arm_a, arm_b in ((BASELINE, BASELINE), (BASELINE, CANDIDATE), (CANDIDATE, CANDIDATE))
        if (shared := min(counts[a, arm_a], counts[b, arm_b]) // 100)
    )
    return MetricEvidence(metric, strata, cross)


def _products(mean: np.ndarray, covariance: np.ndarray, shared: int) -> np.ndarray:
    return np.asarray((np.outer(mean, mean) + 0.5 * covariance) * shared)


def verdict_rows(repeats: int = 5) -> list[Row]:
    """Best of `repeats`, in seconds."""
    rows: list[Row] = []
    for metrics in (1, 4, 10):
        evidence = large_evidence(metrics)
        text = json.dumps(evidence.to_json())
        rows.append(
            {
                "metrics": metrics,
                "units": f"{sum(sum(one.units.values()) for one in evidence.exposed):,}",
                "strata": len(evidence.metrics[0].strata),
                "pairs of cells with shared units": len(evidence.metrics[0].cross) * metrics,
                "verdict, s": round(min(_timed(evidence) for _ in range(repeats)), 3),
                "JSON, MB": round(len(text) / 1e6, 1),
                "read from JSON, s": round(min(_read(text) for _ in range(repeats)), 3),
            }
        )
    return rows


def _timed(evidence: ExperimentEvidence) -> float:
    start = time.perf_counter()
    verdict(analyse(evidence))
    return time.perf_counter() - start


def _read(text: str) -> float:
    start = time.perf_counter()
    ExperimentEvidence.from_json(json.loads(text))
    return time.perf_counter() - start
