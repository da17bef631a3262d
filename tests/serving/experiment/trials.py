"""A small experiment simulated unit by unit, and the evidence that a store would hold, made from all rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.experiment.aggregate import Aggregate, CrossAggregate
from serving.experiment.design import ARMS, BASELINE, CANDIDATE, Arm, Design, Metric
from serving.experiment.evidence import EvidenceSeries, ExperimentEvidence, Exposed, MetricEvidence, Stratum

START = 1_780_272_000.0
DAY_S = 86_400.0
CLICKS = Metric("clicks per view", "ratio", "click", denominator="exposures", covariate="clicks before")
BUYERS = Metric("buyers", "proportion", "buy", role="non_inferior", margin=0.05)
STAY = Metric("stay time", "mean", "stay_s", cap=600.0, role="secondary")
METRICS = (CLICKS, BUYERS, STAY)


def design(**changes: object) -> Design:
    """The design of the small experiment, with changes."""
    fields: dict[str, object] = {
        "experiment": "home feed, MGOE",
        "salt": "s1",
        "baseline_digest": "sha256:5f1c",
        "candidate_digest": "sha256:a907",
        "metrics": METRICS,
        "planned_units": 20_000,
        "burn_in": 50,
        "min_effect": 0.05,
    }
    return Design(**{**fields, **changes})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Rows:
    """One row a (unit, phase). Arrays have a number for each row."""

    unit: NDArray[np.int64]
    phase: NDArray[np.int64]
    slice: NDArray[np.int64]
    candidate: NDArray[np.bool_]
    columns: dict[str, NDArray[np.float64]]
    """metric -> [rows, C]"""
    weights: tuple[float, ...]

    def until(self, day: int) -> Rows:
        """Rows that came before that day; slices are days since the start."""
        here = self.slice < day
        columns = {name: values[here] for name, values in self.columns.items()}
        return Rows(self.unit[here], self.phase[here], self.slice[here], self.candidate[here], columns, self.weights)


def simulate(
    *,
    weights: tuple[float, ...] = (0.1, 0.25, 0.5),
    days: int = 3,
    users: int = 6_000,
    lift: float = 0.0,
    drift: float = 0.03,
    seed: int = 0,
) -> Rows:
    """Users return in every phase with probability 0.7, on a random day; what they like is their own and stays."""
    rng = np.random.default_rng(seed)
    taste, place = rng.gamma(2.0, 0.5, users), rng.random(users)
    before = rng.poisson(6 * taste).astype(np.float64)
    parts = []
    for phase, weight in enumerate(weights):
        unit = np.flatnonzero(rng.random(users) < 0.7)
        slice_ = phase * days + rng.integers(0, days, len(unit))
        candidate = place[unit] < weight
        level = taste[unit] * (1 + drift) ** slice_ * (1 + lift * candidate)
        exposures = 1.0 + rng.poisson(6, len(unit))
        clicks = rng.binomial(exposures.astype(int), np.clip(0.12 * level, 0, 1)).astype(np.float64)
        buys = (rng.random(len(unit)) < np.clip(0.1 * level, 0, 1)).astype(np.float64)
        stay = np.minimum(rng.exponential(60 * level), 600.0)
        parts.append((unit, np.full(len(unit), phase), slice_, candidate, clicks, exposures, before[unit], buys, stay))
    unit, phases, slices, arms, clicks, exposures, covariate, buys, stay = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    columns = {
        CLICKS.name: np.column_stack([clicks, exposures, covariate]),
        BUYERS.name: buys[:, None],
        STAY.name: stay[:, None],
    }
    return Rows(unit, phases, slices, arms, columns, weights)


def evidence(rows: Rows, of: Design, as_of: float = START) -> ExperimentEvidence:
    """What a store would hold of these rows."""
    cells = sorted({(int(p), int(s)) for p, s in zip(rows.phase, rows.slice, strict=True)})
    first = np.zeros(len(rows.unit), dtype=bool)
    first[np.unique(rows.unit, return_index=True)[1]] = True

    def units(key: tuple[int, int], only: NDArray[np.bool_]) -> dict[Arm, int]:
        here = only & (rows.phase == key[0]) & (rows.slice == key[1])
        return {BASELINE: int((here & ~rows.candidate).sum()), CANDIDATE: int((here & rows.candidate).sum())}

    exposed = tuple(
        Exposed(*key, rows.weights[key[0]], units(key, np.ones_like(first)), units(key, first)) for key in cells
    )
    metrics = tuple(_metric(rows, metric, cells) for metric in of.metrics)
    return ExperimentEvidence(of, as_of, metrics, exposed, crossovers=3, forced=12, waiting=5, capped=1)


def _metric(rows: Rows, metric: Metric, cells: list[tuple[int, int]]) -> MetricEvidence:
    values = rows.columns[metric.name]
    inside = {
        (key, arm): np.flatnonzero(
            (rows.phase == key[0]) & (rows.slice == key[1]) & (rows.candidate == (arm == CANDIDATE))
        )
        for key in cells
        for arm in ARMS
    }
    strata = tuple(
        Stratum(
            *key, rows.weights[key[0]], {arm: Aggregate.of(metric.columns, values[inside[key, arm]]) for arm in ARMS}
        )
        for key in cells
    )
    cross = []
    for (key_a, arm_a), at_a in inside.items():
        for (key_b, arm_b), at_b in inside.items():
            if key_a[0] < key_b[0]:
                _, in_a, in_b = np.intersect1d(rows.unit[at_a], rows.unit[at_b], return_indices=True)
                if len(in_a):
                    a, b = values[at_a[in_a]], values[at_b[in_b]]
                    cross.append(
                        CrossAggregate(key_a, arm_a, key_b, arm_b, len(a), a.sum(axis=0), b.sum(axis=0), a.T @ b)
                    )
    return MetricEvidence(metric, strata, tuple(cross), {BASELINE: 40, CANDIDATE: 38}, {BASELINE: 7, CANDIDATE: 9})


def series(of: Design, rows: Rows) -> EvidenceSeries:
    """A snapshot at the end of each day."""
    last = int(rows.slice.max()) + 1
    return EvidenceSeries(tuple(evidence(rows.until(day), of, START + DAY_S * (day - 1)) for day in range(1, last + 1)))
