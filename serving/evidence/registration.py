"""Registers runs and the starts of their phases. Both may be repeated; neither may be changed afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, insert

from model.errors import UserError
from serving.evidence import experiment_store
from serving.evidence.event import SECOND
from serving.evidence.experiment_store import Experiment
from serving.evidence.placement import place_some
from serving.evidence.run import SKEW_US, Bounds, Phase, Run
from serving.evidence.schema import phases
from serving.experiment.design import Design
from serving.experiment.document import short, words


class ConflictError(UserError):
    """Something of this key is registered already, and is different."""


@dataclass(frozen=True)
class PhaseStart:
    """A phase of the run with these digests; of the run that was registered last where there are none."""

    experiment: str
    phase: int
    start_us: int
    candidate_weight: float
    baseline_digest: str | None = None
    candidate_digest: str | None = None


def register(connection: Connection, design: Design, bounds: Mapping[str, Bounds], now_us: int) -> bool:
    """Registers a run; False: it was there. A pair of digests that is new to the experiment is a run of its own.

    Without bounds, those of a run that is there stay. Raises ConflictError where the run is there with another design,
    or the experiment has ended, and UserError for bounds that ask for a metric's own `min_events`.
    """
    experiment_store.create(connection, design.experiment)
    experiment = experiment_store.lock_one(connection, design.experiment)
    for run in experiment.catalogue.runs.values():
        if run.design.run == design.run:
            _require_same(run, design, bounds)
            return False
    _require_open(experiment)
    _require_events(design, bounds)
    experiment_store.add_run(connection, experiment, design, bounds, now_us)
    return True


def start_phase(connection: Connection, start: PhaseStart) -> bool:
    """Registers a phase; False: it was there. Exposures that came before it are counted now, or by `place` if many.

    Raises UnknownExperimentError, UserError for a run that is not there or a phase that begins before an earlier one,
    ConflictError for a phase that is another or
    an experiment that has ended.
    """
    experiment = experiment_store.lock_one(connection, start.experiment)
    _require_open(experiment)
    phase = Phase(start.phase, _run(experiment, start).id, start.start_us, start.candidate_weight)
    known = experiment.catalogue.phases.get(start.phase)
    if known is not None:
        if known == phase:
            return False
        raise ConflictError(
            f"phase {start.phase} of experiment {start.experiment!r}: registered with weight "
            f"{known.candidate_weight:g} from {known.start_us / SECOND}; a changed weight is a new phase"
        )
    _require_order(experiment, phase)
    connection.execute(
        insert(phases),
        {
            "experiment_id": experiment.id,
            "phase": phase.number,
            "run_id": phase.run,
            "start_us": phase.start_us,
            "candidate_weight": phase.candidate_weight,
        },
    )
    place_some(connection, experiment_store.lock_one(connection, start.experiment))
    return True


def _require_order(experiment: Experiment, phase: Phase) -> None:
    """Phases begin in the order of their numbers, as far as clocks can tell."""
    for other in experiment.catalogue.phases.values():
        first, second = sorted((phase, other), key=lambda each: each.number)
        if second.start_us < first.start_us - SKEW_US:
            raise UserError(
                f"phase {phase.number} of experiment {experiment.name!r}: phase {second.number} from "
                f"{second.start_us / SECOND} would begin before phase {first.number} from {first.start_us / SECOND}"
            )


def _run(experiment: Experiment, start: PhaseStart) -> Run:
    if start.baseline_digest is None and start.candidate_digest is None:
        return experiment.latest
    wanted = (start.baseline_digest, start.candidate_digest)
    for run in experiment.catalogue.runs.values():
        if (run.design.baseline_digest, run.design.candidate_digest) == wanted:
            return run
    raise UserError(
        f"experiment {experiment.name!r}: no run of baseline {wanted[0]!r} and candidate {wanted[1]!r}; "
        f"register its design first"
    )


def _require_open(experiment: Experiment) -> None:
    if experiment.ended_us is not None:
        raise ConflictError(f"experiment {experiment.name!r} has ended: a new one has another name")


def _require_events(design: Design, bounds: Mapping[str, Bounds]) -> None:
    """Where values lie on both sides of 0, their mean tells nothing of how many there are."""
    for metric in design.metrics:
        found = bounds.get(metric.value, Bounds())
        if found.lowest < 0 < found.highest and metric.kind != "proportion" and metric.min_events is None:
            raise UserError(
                f"metric {metric.name!r}: {metric.value!r} may be below 0 and above it, so that its mean does not tell "
                f"when there are enough events; give the metric a min_events of its own, 0 where burn_in is enough"
            )


def _require_same(run: Run, design: Design, bounds: Mapping[str, Bounds]) -> None:
    old, new = run.design.to_json(), design.to_json()
    differing = sorted(name for name in new if old.get(name) != new[name])
    if differing:
        told = f"another {differing[0]}: {short(old.get(differing[0]))}, not {short(new[differing[0]])}"
    elif bounds and dict(run.bounds) != dict(bounds):
        told = "other bounds: " + (words(f"{name!r} {of}" for name, of in sorted(run.bounds.items())) or "none")
    else:
        return
    raise ConflictError(
        f"experiment {design.experiment!r}: the run of candidate {design.candidate_digest!r} is registered with "
        f"{told}; a design is fixed before its first unit"
    )
