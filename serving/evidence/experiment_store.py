"""Experiments, their runs and their phases in the database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from model.errors import UserError
from serving.evidence.event import DAY
from serving.evidence.run import Bounds, Catalogue, Phase, Run
from serving.evidence.schema import experiments, phases, runs
from serving.experiment.design import Design


@dataclass(frozen=True)
class Experiment:
    """An experiment as a transaction finds it."""

    id: int
    catalogue: Catalogue
    settled_us: int
    """Aggregates hold the units whose window had closed by then."""
    horizon_us: int
    """Raw events before it are gone, and none are taken."""
    earliest_us: int = 0
    """No event of it can be older: a day before it or its first phase began; 0 while it has no phase."""
    ended_us: int | None = None
    """From then on nothing is taken."""
    salt: bytes | None = None
    """Key of the digests of deleted units; None: no unit was deleted."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.catalogue.experiment

    @property
    def latest(self) -> Run:
        """The run that was registered last."""
        return self.catalogue.runs[max(self.catalogue.runs)]


class UnknownExperimentError(UserError):
    """Nobody registered an experiment of that name."""


def lock(connection: Connection, names: Iterable[str]) -> dict[str, Experiment]:
    """The experiments of these names, locked against other writers until the end of the transaction.

    Writers to one experiment take turns; those to several lock them in the order of their ids, so that none wait for
    each other in a circle. Names that nobody registered are left out.
    """
    return _load(connection, names, locked=True)


def read(connection: Connection, name: str) -> Experiment:
    """One experiment. Raises UnknownExperimentError."""
    found = _load(connection, [name], locked=False)
    if name not in found:
        raise UnknownExperimentError(f"experiment {name!r}: nobody registered it")
    return found[name]


def lock_one(connection: Connection, name: str) -> Experiment:
    """One experiment, locked. Raises UnknownExperimentError."""
    found = lock(connection, [name])
    if name not in found:
        raise UnknownExperimentError(f"experiment {name!r}: nobody registered it")
    return found[name]


def names(connection: Connection) -> Sequence[str]:
    """All experiments, in the order of their ids."""
    return connection.execute(select(experiments.c.name).order_by(experiments.c.id)).scalars().all()


def open_names(connection: Connection) -> Sequence[str]:
    """Experiments that have not ended, in the order of their ids."""
    query = select(experiments.c.name).where(experiments.c.ended_us.is_(None)).order_by(experiments.c.id)
    return connection.execute(query).scalars().all()


def create(connection: Connection, name: str) -> None:
    """Makes the experiment where it is not there; the caller locks it afterwards."""
    if name not in _load(connection, [name], locked=False):
        connection.execute(insert(experiments), {"name": name, "settled_us": 0, "horizon_us": 0})


def add_run(
    connection: Connection, experiment: Experiment, design: Design, bounds: Mapping[str, Bounds], now_us: int
) -> None:
    """Adds a run."""
    connection.execute(
        insert(runs),
        {
            "experiment_id": experiment.id,
            "baseline_digest": design.baseline_digest,
            "candidate_digest": design.candidate_digest,
            "design": json.dumps(design.to_json()),
            "bounds": json.dumps({name: asdict(bound) for name, bound in bounds.items()}),
            "registered_us": now_us,
        },
    )


def set_settled(connection: Connection, experiment: Experiment, settled_us: int) -> None:
    """Moves the time by which windows are closed."""
    connection.execute(update(experiments).where(experiments.c.id == experiment.id).values(settled_us=settled_us))


def set_horizon(connection: Connection, experiment: Experiment, horizon_us: int) -> None:
    """Moves the time before which no raw event is kept."""
    connection.execute(update(experiments).where(experiments.c.id == experiment.id).values(horizon_us=horizon_us))


def set_ended(connection: Connection, experiment: Experiment, ended_us: int) -> None:
    """Ends an experiment: nothing is taken any more."""
    connection.execute(update(experiments).where(experiments.c.id == experiment.id).values(ended_us=ended_us))


def _load(connection: Connection, wanted: Iterable[str], *, locked: bool) -> dict[str, Experiment]:
    query = select(experiments).where(experiments.c.name.in_(sorted(set(wanted)))).order_by(experiments.c.id)
    found = connection.execute(query.with_for_update() if locked else query).all()
    return {row.name: _experiment(connection, row) for row in found}


def _experiment(connection: Connection, row: Row[Any]) -> Experiment:
    catalogue = _catalogue(connection, row.id, row.name)
    registered = select(func.min(runs.c.registered_us)).where(runs.c.experiment_id == row.id)
    starts = [phase.start_us for phase in catalogue.phases.values()]
    # Until a phase is registered, nobody knows how far back it begins.
    earliest_us = min([connection.execute(registered).scalar() or 0, *starts]) - DAY if starts else 0
    return Experiment(row.id, catalogue, row.settled_us, row.horizon_us, earliest_us, row.ended_us, row.salt)


def _catalogue(connection: Connection, experiment: int, name: str) -> Catalogue:
    found = connection.execute(select(runs).where(runs.c.experiment_id == experiment).order_by(runs.c.id)).all()
    rows = connection.execute(select(phases).where(phases.c.experiment_id == experiment)).all()
    return Catalogue(
        name,
        {row.id: _run(row.id, row.design, row.bounds) for row in found},
        {row.phase: Phase(row.phase, row.run_id, row.start_us, row.candidate_weight) for row in rows},
    )


def _run(number: int, design: str, bounds: str) -> Run:
    limits = {name: Bounds(**bound) for name, bound in json.loads(bounds).items()}
    return Run(number, Design.from_json(json.loads(design)), limits)
