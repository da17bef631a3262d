"""Units of one experiment in the database: their states, and the raw events behind them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, delete

from serving.evidence import bulk
from serving.evidence.contribution import due_us
from serving.evidence.event import Exposure, Outcome
from serving.evidence.experiment_store import Experiment
from serving.evidence.schema import exposures, outcomes, unit_phases, units, unplaced
from serving.evidence.unit import PhaseRow, UnitState

_NOT_FOLDED = ~outcomes.c.folded


def load(connection: Connection, experiment: Experiment, names: Collection[str]) -> dict[str, UnitState]:
    """The states of units; one of which nothing is known is absent."""
    keys = [{"experiment_id": experiment.id, "unit": name} for name in names]
    states = {row.unit: _state(row) for row in bulk.fetch(connection, units, keys, lead="experiment_id")}
    for row in bulk.fetch(connection, unit_phases, keys, lead="experiment_id"):
        states[row.unit].rows[row.phase] = PhaseRow(
            row.run_id,
            row.arm,
            row.entry_us,
            row.slice,
            json.loads(row.totals),
            row.crossed,
            json.loads(row.taken),
            row.last_us,
        )
    return states


def load_folded(connection: Connection, experiment: Experiment, names: Collection[str]) -> dict[str, UnitState]:
    """What was folded away of units before the horizon: their state by then, or an empty one."""
    keys = [{"experiment_id": experiment.id, "unit": name} for name in names]
    found = {row.unit: row.folded for row in bulk.fetch(connection, units, keys, lead="experiment_id")}
    return {name: _unfold(found.get(name)) for name in names}


def load_events(
    connection: Connection, experiment: Experiment, names: Collection[str]
) -> tuple[dict[str, list[Exposure]], dict[str, list[Outcome]]]:
    """The raw events of units that are not folded away."""
    shown: dict[str, list[Exposure]] = {name: [] for name in names}
    done: dict[str, list[Outcome]] = {name: [] for name in names}
    keys = [{"experiment_id": experiment.id, "unit": name} for name in names]
    for row in bulk.fetch(connection, exposures, keys, lead="experiment_id"):
        shown[row.unit].append(exposure_of(row, experiment.name))
    owned = [{"experiment_id": experiment.id, "owner": name} for name in names]
    for row in bulk.fetch(connection, outcomes, owned, lead="experiment_id", where=_NOT_FOLDED):
        done[row.owner].append(outcome_of(row, experiment.name))
    return shown, done


def save(
    connection: Connection,
    experiment: Experiment,
    before: Mapping[str, UnitState],
    after: Mapping[str, UnitState],
    settled_us: int | None = None,
) -> None:
    """Writes what differs. settled_us: the time by which windows are closed; the experiment's own where None."""
    moment = experiment.settled_us if settled_us is None else settled_us
    heads: list[bulk.Record] = []
    rows: list[bulk.Record] = []
    for name in sorted(after):
        old, new = before.get(name), after[name]
        if old is None or not new.same_head(old):
            heads.append({"experiment_id": experiment.id, "unit": name, **_head(new)})
        rows.extend(
            _row(experiment, name, phase, row, moment)
            for phase, row in sorted(new.rows.items())
            if old is None or settled_us is not None or old.rows.get(phase) != row
        )
        for phase in old.rows.keys() - new.rows.keys() if old is not None else ():
            _drop_row(connection, experiment, name, phase)
    bulk.upsert(connection, units, heads)
    bulk.upsert(connection, unit_phases, rows)


def fold(connection: Connection, experiment: Experiment, name: str, state: UnitState) -> None:
    """Keeps a state in place of the raw events that led to it."""
    where = (units.c.experiment_id == experiment.id) & (units.c.unit == name)
    connection.execute(units.update().where(where).values(folded=json.dumps(asdict(state))))


def remove(connection: Connection, experiment: Experiment, name: str) -> int:
    """Removes all that is kept of a unit: state and raw events, whose number it returns."""
    gone = 0
    for table, column in ((exposures, "unit"), (outcomes, "owner"), (units, "unit")):
        mine = (table.c.experiment_id == experiment.id, table.c[column] == name)
        count = connection.execute(delete(table).where(*mine)).rowcount
        gone += 0 if table is units else count
    for table in (unit_phases, unplaced):
        connection.execute(delete(table).where(table.c.experiment_id == experiment.id, table.c.unit == name))
    return gone


def exposure_of(row: Row[Any], experiment: str) -> Exposure:
    """A stored exposure."""
    return Exposure(
        experiment,
        row.exposure_id,
        row.unit,
        row.arm,
        row.digest,
        row.phase,
        row.time_us,
        row.propensity,
        row.request_id,
        row.forced,
    )


def outcome_of(row: Row[Any], experiment: str) -> Outcome:
    """A stored outcome."""
    return Outcome(
        experiment, row.event_id, row.metric, row.value, row.time_us, row.unit, row.exposure_id, row.request_id
    )


def exposure_records(experiment: Experiment, events: Iterable[Exposure]) -> list[bulk.Record]:
    """Exposures as rows."""
    return [
        {
            "experiment_id": experiment.id,
            "exposure_id": event.exposure_id,
            "unit": event.unit,
            "request_id": event.request_id,
            "arm": event.arm,
            "digest": event.digest,
            "phase": event.phase,
            "time_us": event.time_us,
            "propensity": event.propensity,
            "forced": event.forced,
        }
        for event in events
    ]


def outcome_record(experiment: Experiment, event: Outcome, owner: str | None) -> bulk.Record:
    """An outcome as a row; owner: the unit that it counts for."""
    return {
        "experiment_id": experiment.id,
        "event_id": event.event_id,
        "metric": event.metric,
        "value": event.value,
        "time_us": event.time_us,
        "unit": event.unit,
        "exposure_id": event.exposure_id,
        "request_id": event.request_id,
        "owner": owner,
        "folded": False,
    }


def _state(row: Row[Any]) -> UnitState:
    return UnitState(
        timeline=[tuple(point) for point in json.loads(row.timeline)],
        covariates=json.loads(row.covariates),
        excluded=json.loads(row.excluded),
        waiting=row.waiting,
        capped=row.capped,
        loose=json.loads(row.loose),
        last_us=row.last_us,
        oldest_us=row.oldest_us,
    )


def _unfold(document: str | None) -> UnitState:
    if document is None:
        return UnitState()
    fields = json.loads(document)
    rows = {int(phase): PhaseRow(**row) for phase, row in fields.pop("rows").items()}
    timeline = [tuple(point) for point in fields.pop("timeline")]
    return UnitState(timeline=timeline, rows=rows, **fields)


def _head(state: UnitState) -> dict[str, Any]:
    return {
        "timeline": json.dumps(state.timeline),
        "covariates": json.dumps(state.covariates, sort_keys=True),
        "excluded": json.dumps(state.excluded, sort_keys=True),
        "waiting": state.waiting,
        "capped": state.capped,
        "loose": json.dumps(state.loose, sort_keys=True),
        "last_us": state.last_us,
        "oldest_us": state.oldest_us,
    }


def _row(experiment: Experiment, name: str, phase: int, row: PhaseRow, settled_us: int) -> bulk.Record:
    return {
        "experiment_id": experiment.id,
        "unit": name,
        "phase": phase,
        "run_id": row.run,
        "arm": row.arm,
        "entry_us": row.entry_us,
        "slice": row.slice,
        "crossed": row.crossed,
        "totals": json.dumps(row.totals),
        "due_us": due_us(row, experiment.catalogue.runs[row.run], settled_us),
        "taken": json.dumps(row.taken, sort_keys=True),
        "last_us": row.last_us,
    }


def _drop_row(connection: Connection, experiment: Experiment, name: str, phase: int) -> None:
    where = (unit_phases.c.experiment_id == experiment.id) & (unit_phases.c.unit == name)
    connection.execute(delete(unit_phases).where(where, unit_phases.c.phase == phase))
