"""The evidence of a run computed again from its raw events, in the plainest way: what the store has to agree with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations

from serving.evidence.event import MICRO, SECOND, Exposure, Outcome
from serving.experiment.aggregate import Aggregate
from serving.experiment.design import ARMS, Design, Metric
from serving.gateway.assignment import Arm


@dataclass
class Row:
    """A unit in a phase."""

    unit: str
    phase: int
    arms: set[Arm]
    exposures: list[Exposure]
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def entry(self) -> float:
        return self.exposures[0].time_us / SECOND


@dataclass(frozen=True)
class World:
    """What is registered: designs, and phases as number -> (design, start in seconds, weight)."""

    phases: Mapping[int, tuple[Design, float, float]]
    covariates: Mapping[tuple[str, str], float] = field(default_factory=dict)
    horizon_us: int = 0
    """Exposures before it were let go: no outcome can name them any more."""
    folded: Mapping[str, Exposure] = field(default_factory=dict)
    """By event id: outcomes that were let go with the exposure that they had followed."""


Document = dict[str, object]


def evidence(
    world: World, design: Design, exposures: Iterable[Exposure], outcomes: Iterable[Outcome], now: float
) -> Document:
    """The JSON of the evidence, but with the aggregates as (count, mean, m2) computed by numpy from all units."""
    shown = sorted(exposures, key=lambda e: (e.time_us, e.exposure_id))
    rows = {phase: unit_rows(world, phase, shown) for phase in world.phases if world.phases[phase][0] == design}
    waiting = 0
    for outcome in outcomes:
        known = [e for e in shown if e.time_us >= world.horizon_us] if outcome.by_reference else shown
        exposure = world.folded.get(outcome.event_id) or exposure_of(outcome, known)
        if exposure is None:
            waiting += 1
        elif belongs(world, exposure) and exposure.phase in rows:
            rows[exposure.phase][exposure.unit].outcomes.append(outcome)
    counted = [row for of_phase in rows.values() for row in of_phase.values() if len(row.arms) == 1]
    return {
        "metrics": [metric_evidence(world, design, metric, counted, now) for metric in design.metrics],
        "exposed": exposed(world, design, counted, shown),
        "crossovers": sum(len(row.arms) == 2 for of_phase in rows.values() for row in of_phase.values()),
        "forced": sum(e.forced and e.phase in rows for e in shown),
        "waiting": waiting,
        "foreign": sum(not e.forced and e.phase in rows and not belongs(world, e) for e in shown),
    }


def belongs(world: World, exposure: Exposure) -> bool:
    """Whether an exposure is evidence of its phase."""
    if exposure.forced or exposure.phase not in world.phases:
        return False
    design, start, weight = world.phases[exposure.phase]
    if exposure.propensity not in {None, weight} or exposure.time_us / SECOND < start - 300:
        return False
    return exposure.digest == (design.candidate_digest if exposure.arm == "candidate" else design.baseline_digest)


def unit_rows(world: World, phase: int, shown: list[Exposure]) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for exposure in shown:
        if exposure.phase == phase and belongs(world, exposure):
            row = rows.setdefault(exposure.unit, Row(exposure.unit, phase, set(), []))
            row.arms.add(exposure.arm)
            row.exposures.append(exposure)
    return rows


def exposure_of(outcome: Outcome, shown: list[Exposure]) -> Exposure | None:
    """The exposure that an outcome follows: the one it names, or the unit's last at or before it."""
    if outcome.exposure_id is not None or outcome.request_id is not None:
        for exposure in shown:
            same_unit = outcome.unit in {None, exposure.unit}
            if outcome.exposure_id is not None:
                same = exposure.exposure_id == outcome.exposure_id
            else:
                same = exposure.request_id == outcome.request_id
            if same and same_unit:
                several = outcome.exposure_id is None and outcome.unit is None and len(users(outcome, shown)) > 1
                early = outcome.time_us / SECOND < exposure.time_us / SECOND - 300
                return None if several or early else exposure
        return None
    before = [e for e in shown if e.unit == outcome.unit and not e.forced and e.time_us <= outcome.time_us]
    return before[-1] if before else None


def users(outcome: Outcome, shown: list[Exposure]) -> set[str]:
    """The units that used the request that an outcome names."""
    return {exposure.unit for exposure in shown if exposure.request_id == outcome.request_id}


def columns(world: World, metric: Metric, row: Row) -> tuple[list[float], int]:
    """The unit's columns, and how many of its outcomes were late."""
    window = metric.maturity_s or float("inf")
    inside = [o for o in row.outcomes if o.time_us / SECOND <= row.entry + window]
    used = [o for o in row.outcomes if o.metric in {metric.value, metric.denominator}]
    late = sum(o.time_us / SECOND > row.entry + window for o in used)
    value = sum(o.value for o in inside if o.metric == metric.value) / MICRO
    if metric.kind == "proportion":
        value = float(any(o.value > 0 for o in inside if o.metric == metric.value))
    vector = [value if metric.cap is None else min(value, metric.cap)]
    if metric.denominator == "exposures":
        vector.append(float(sum(e.time_us / SECOND <= row.entry + window for e in row.exposures)))
    elif metric.denominator is not None:
        vector.append(sum(o.value for o in inside if o.metric == metric.denominator) / MICRO)
    if metric.covariate is not None:
        vector.append(world.covariates.get((row.unit, metric.covariate), 0.0))
    return vector, late


def slice_of(world: World, design: Design, row: Row) -> int:
    return max(0, int((row.entry - world.phases[row.phase][1]) // design.slice_s))


def metric_evidence(world: World, design: Design, metric: Metric, rows: list[Row], now: float) -> Document:
    units: dict[tuple[int, int, Arm], list[list[float]]] = {}
    mature: dict[str, list[tuple[int, int, Arm, list[float]]]] = {}
    immature, late = dict.fromkeys(ARMS, 0), dict.fromkeys(ARMS, 0)
    for row in rows:
        (arm,) = row.arms
        vector, after = columns(world, metric, row)
        late[arm] += after
        if metric.maturity_s and row.entry + metric.maturity_s > now:
            immature[arm] += 1
            continue
        place = (row.phase, slice_of(world, design, row), arm)
        units.setdefault(place, []).append(vector)
        mature.setdefault(row.unit, []).append((*place, vector))
    return {
        "metric": metric.name,
        "strata": {place: Aggregate.of(metric.columns, vectors).to_json() for place, vectors in sorted(units.items())},
        "cross": cross(mature),
        "immature": immature,
        "late": late,
    }


def cross(mature: dict[str, list[tuple[int, int, Arm, list[float]]]]) -> Document:
    pairs: dict[str, list[tuple[list[float], list[float]]]] = {}
    for rows in mature.values():
        for a, b in combinations(sorted(rows, key=lambda row: row[0]), 2):
            pairs.setdefault(str((*a[:3], *b[:3])), []).append((a[3], b[3]))
    return {
        key: {
            "count": len(vectors),
            "sums_a": [sum(column) for column in zip(*(a for a, _ in vectors), strict=True)],
            "sums_b": [sum(column) for column in zip(*(b for _, b in vectors), strict=True)],
            "products": [
                [sum(a[i] * b[j] for a, b in vectors) for j in range(len(vectors[0][0]))]
                for i in range(len(vectors[0][0]))
            ],
        }
        for key, vectors in sorted(pairs.items())
    }


def exposed(world: World, design: Design, counted: list[Row], shown: list[Exposure]) -> Document:
    every = [row for phase in world.phases for row in unit_rows(world, phase, shown).values()]
    first: dict[str, int] = {}
    for row in sorted(every, key=lambda row: (row.exposures[0].time_us, row.phase)):
        first.setdefault(row.unit, row.phase)
    units: dict[tuple[int, int, Arm], list[int]] = {}
    for row in counted:
        (arm,) = row.arms
        counts = units.setdefault((row.phase, slice_of(world, design, row), arm), [0, 0])
        counts[0] += 1
        counts[1] += first[row.unit] == row.phase
    return {str(place): counts for place, counts in sorted(units.items())}
