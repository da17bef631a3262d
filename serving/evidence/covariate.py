"""Covariates: what was known of a unit before the experiment began, uploaded once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from serving.evidence import aggregate_store, experiment_store, tombstone, unit_store
from serving.evidence.contribution import Change, deltas
from serving.evidence.event import MICRO, Accepted, Answer, Refusal
from serving.evidence.experiment_store import Experiment
from serving.evidence.unit import UnitState


@dataclass(frozen=True, slots=True)
class Covariate:
    """A unit's value of one covariate, in MICRO units."""

    experiment: str
    unit: str
    name: str
    value: int


def upload(connection: Connection, covariates: Sequence[Covariate]) -> list[Answer]:
    """Keeps covariates, in the caller's transaction; answers in their order, with the unit as id.

    A value is set once: one that is changed after outcomes were seen would bias what it is to adjust.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, covariate in enumerate(covariates):
        places[covariate.experiment].append(place)
    known = experiment_store.lock(connection, places)
    answers: dict[int, Answer] = {}
    for name, mine in places.items():
        if name in known:
            answers |= _upload(connection, known[name], {place: covariates[place] for place in mine})
        else:
            reason = f"experiment {name!r}: nobody registered it"
            answers |= {place: Refusal(covariates[place].unit, reason, "unknown") for place in mine}
    return [answers[place] for place in range(len(covariates))]


def _upload(connection: Connection, experiment: Experiment, covariates: dict[int, Covariate]) -> dict[int, Answer]:
    units = {covariate.unit for covariate in covariates.values()}
    gone = tombstone.deleted(connection, experiment, units)
    before = unit_store.load(connection, experiment, units)
    after: dict[str, UnitState] = {}
    answers: dict[int, Answer] = {}
    for place, covariate in covariates.items():
        state = after.get(covariate.unit) or before.get(covariate.unit, UnitState()).copy()
        refusal = _refusal(covariate, state, experiment, deleted=covariate.unit in gone)
        answers[place] = refusal or Accepted(covariate.unit)
        if refusal is None:
            state.covariates[covariate.name] = covariate.value
            after[covariate.unit] = state
    changes = [Change(before.get(name), state) for name, state in after.items()]
    unit_store.save(connection, experiment, before, after)
    aggregate_store.add(connection, experiment, deltas(changes, experiment.catalogue, experiment.settled_us))
    return answers


def _refusal(covariate: Covariate, state: UnitState, experiment: Experiment, *, deleted: bool) -> Refusal | None:
    if deleted:  # what was known of it before the experiment is what was to be forgotten
        return Refusal(covariate.unit, "the unit was deleted, and what was known of it before", "deleted")
    known = experiment.catalogue.covariate_names
    if covariate.name not in known:
        listed = ", ".join(sorted(known)) or "none"
        reason = f"covariate {covariate.name!r}: experiment {experiment.name!r} uses {listed}"
        return Refusal(covariate.unit, reason, "unknown")
    earlier = state.covariates.get(covariate.name, covariate.value)
    if earlier != covariate.value:
        reason = f"covariate {covariate.name!r} of unit {covariate.unit!r}: {covariate.value / MICRO:g} is given, "
        return Refusal(covariate.unit, f"{reason}{earlier / MICRO:g} is kept; a covariate is set once", "conflict")
    return None
