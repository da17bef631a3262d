"""The evidence of a run, from its aggregates alone, in the statistics' own types."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, Row

from model.errors import Fault, UserError
from serving.evidence import aggregate_store, experiment_store
from serving.evidence.contribution import COLUMNS
from serving.evidence.engine import reading
from serving.evidence.event import ARMS, MICRO, SECOND
from serving.evidence.experiment_store import Experiment
from serving.evidence.maturity import settle
from serving.evidence.run import Run
from serving.experiment.aggregate import Aggregate, CrossAggregate, StratumKey
from serving.experiment.document import ExperimentError
from serving.experiment.evidence import ExperimentEvidence, Exposed, MetricEvidence, Stratum


def read_evidence(engine: Engine, name: str, now_us: int, candidate_digest: str | None = None) -> ExperimentEvidence:
    """The evidence of the latest run, or of the latest of that candidate, as of now.

    Costs what the aggregates cost, and the units that matured since the last look. Raises UnknownExperimentError,
    UserError for a candidate that has no run, and Fault for aggregates that cannot be.
    """
    settle(engine, name, now_us)
    with reading(engine) as connection:
        experiment = experiment_store.read(connection, name)
        run = run_of(experiment, candidate_digest)
        try:
            return _evidence(connection, experiment, run)
        except ExperimentError as error:
            raise Fault(f"experiment {name!r}: its aggregates contradict each other: {error}") from error


def run_of(experiment: Experiment, candidate_digest: str | None) -> Run:
    """The latest run, or the latest of that candidate."""
    runs = [
        run
        for run in experiment.catalogue.runs.values()
        if candidate_digest is None or run.design.candidate_digest == candidate_digest
    ]
    if not runs:
        known = ", ".join(sorted({run.design.candidate_digest for run in experiment.catalogue.runs.values()}))
        raise UserError(f"experiment {experiment.name!r}: no run of candidate {candidate_digest!r}; there are {known}")
    return max(runs, key=lambda run: run.id)


def _evidence(connection: Connection, experiment: Experiment, run: Run) -> ExperimentEvidence:
    aggregates, crosses, exposed = aggregate_store.read_run(connection, run.id)
    tallies = aggregate_store.read_tallies(connection, experiment)
    phases = {number for number, phase in experiment.catalogue.phases.items() if phase.run == run.id}

    def tally(kind: str) -> int:
        return sum(count for (name, phase), count in tallies.items() if name == kind and phase in phases)

    return ExperimentEvidence(
        design=run.design,
        as_of=experiment.settled_us / SECOND,
        metrics=tuple(_metrics(experiment, run, aggregates, crosses, exposed)),
        exposed=tuple(_exposed(experiment, phases, exposed)),
        crossovers=tally("crossover"),
        forced=tally("forced"),
        waiting=tallies.get(("waiting", -1), 0),
        capped=tallies.get(("capped", -1), 0),
        foreign=tally("foreign"),
        mismatch=tally("mismatch"),
        early=tally("early"),
    )


def _metrics(
    experiment: Experiment,
    run: Run,
    aggregates: Sequence[Row[Any]],
    crosses: Sequence[Row[Any]],
    exposed: Sequence[Row[Any]],
) -> Iterator[MetricEvidence]:
    units = {arm: sum(row.units for row in exposed if row.arm == arm) for arm in ARMS}
    for place, metric in enumerate(run.design.metrics):
        mine = [row for row in aggregates if row.metric == place]
        strata: dict[StratumKey, dict[Any, Aggregate]] = defaultdict(dict)
        for row in mine:
            if row.units:
                strata[row.phase, row.slice][row.arm] = _aggregate(row, metric.columns)
        mature = {arm: sum(row.units for row in mine if row.arm == arm) for arm in ARMS}
        yield MetricEvidence(
            metric=metric,
            strata=tuple(
                Stratum(phase, slice_, experiment.catalogue.phases[phase].candidate_weight, arms)
                for (phase, slice_), arms in sorted(strata.items())
            ),
            cross=tuple(_cross(row, metric.columns) for row in crosses if row.metric == place),
            immature={arm: units[arm] - mature[arm] for arm in ARMS},
            late={arm: sum(row.late for row in mine if row.arm == arm) for arm in ARMS},
        )


def _exposed(experiment: Experiment, phases: Set[int], rows: Sequence[Row[Any]]) -> Iterator[Exposed]:
    """Of each phase that is registered, with units or without: tests share their level among phases by number."""
    strata: dict[StratumKey, list[Row[Any]]] = defaultdict(list)
    for phase in phases - {row.phase for row in rows}:
        strata[phase, 0] = []
    for row in rows:
        strata[row.phase, row.slice].append(row)
    for (phase, slice_), mine in sorted(strata.items()):
        weight = experiment.catalogue.phases[phase].candidate_weight
        units = {arm: sum(row.units for row in mine if row.arm == arm) for arm in ARMS}
        new_units = {arm: sum(row.new_units for row in mine if row.arm == arm) for arm in ARMS}
        yield Exposed(phase, slice_, weight, units, new_units)


def _aggregate(row: Row[Any], names: tuple[str, ...]) -> Aggregate:
    """Means and centred products; exact until the last division, so that no digit is lost to a large mean."""
    places = [COLUMNS.index(name) for name in names]
    sums = [getattr(row, COLUMNS[place]) for place in places]
    products = [[getattr(row, f"{COLUMNS[min(a, b)]}_{COLUMNS[max(a, b)]}") for b in places] for a in places]
    mean = [total / (row.units * MICRO) for total in sums]
    m2 = [
        [(products[i][j] * row.units - sums[i] * sums[j]) / (row.units * MICRO**2) for j in range(len(places))]
        for i in range(len(places))
    ]
    return Aggregate(names, row.units, np.array(mean), np.array(m2))


def _cross(row: Row[Any], names: tuple[str, ...]) -> CrossAggregate:
    places = [COLUMNS.index(name) for name in names]
    return CrossAggregate(
        stratum_a=(row.phase_a, row.slice_a),
        arm_a=row.arm_a,
        stratum_b=(row.phase_b, row.slice_b),
        arm_b=row.arm_b,
        count=row.units,
        sums_a=np.array([getattr(row, f"{COLUMNS[place]}_a") / MICRO for place in places]),
        sums_b=np.array([getattr(row, f"{COLUMNS[place]}_b") / MICRO for place in places]),
        products=np.array([[getattr(row, f"{COLUMNS[a]}_{COLUMNS[b]}") / MICRO**2 for b in places] for a in places]),
    )
