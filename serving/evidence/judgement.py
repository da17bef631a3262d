"""Which events of a batch are new, which were delivered before, and which are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sqlalchemy import Connection

from serving.evidence import bulk, unit_store
from serving.evidence.event import MICRO, SECOND, Accepted, Answer, Event, Exposure, Outcome, Refusal
from serving.evidence.experiment_store import Experiment
from serving.evidence.limits import Limits
from serving.evidence.reference import mirrored
from serving.evidence.schema import exposures, outcomes
from serving.evidence.tombstone import deleted
from serving.evidence.unit import UnitState
from serving.experiment.document import short

E = TypeVar("E", Exposure, Outcome)


@dataclass
class Judged(Generic[E]):
    """Events of one kind, in the order of the batch."""

    events: Sequence[E]
    fresh: dict[str, E] = field(default_factory=dict)
    """By event id: those to take in."""
    refusals: list[Refusal | None] = field(default_factory=list)
    """By place; None: the answer is that of the first event of its id."""
    capped: dict[str, Refusal] = field(default_factory=dict)
    """By event id: events that were new, and one too many."""

    def refuse(self, refusals: Mapping[str, Refusal]) -> None:
        """Refuses events that were new, by event id."""
        for event_id, refusal in refusals.items():
            del self.fresh[event_id]
            self.capped[event_id] = refusal

    def answers(self) -> list[Answer]:
        """One for each event. A repeated event is answered as it was the first time."""
        return [
            refusal or self.capped.get(event.event_id) or Accepted(event.event_id)
            for event, refusal in zip(self.events, self.refusals, strict=True)
        ]


def judge_exposures(connection: Connection, experiment: Experiment, events: Sequence[Exposure]) -> Judged[Exposure]:
    """Judges exposures against what is stored."""
    keys = [{"experiment_id": experiment.id, "exposure_id": event.exposure_id} for event in events]
    rows = bulk.fetch(connection, exposures, keys, lead="experiment_id")
    stored = {row.exposure_id: unit_store.exposure_of(row, experiment.name) for row in rows}
    return _judge(experiment, events, stored, deleted(connection, experiment, {event.unit for event in events}))


def judge_outcomes(connection: Connection, experiment: Experiment, events: Sequence[Outcome]) -> Judged[Outcome]:
    """Judges outcomes against the design and what is stored."""
    keys = [{"experiment_id": experiment.id, "event_id": event.event_id} for event in events]
    rows = bulk.fetch(connection, outcomes, keys, lead="experiment_id")
    stored = {row.event_id: unit_store.outcome_of(row, experiment.name) for row in rows}
    units = {event.unit for event in events if event.unit is not None}
    return _judge(experiment, events, stored, deleted(connection, experiment, units))


class Room:
    """How many more events of each unit may be taken in, as a batch fills it. In the order of arrival."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._taken: dict[tuple[str, str], int] = {}
        self._all: dict[str, int] = {}
        self.capped: set[str] = set()
        """Units that had events refused."""

    def admit(self, unit: str, name: str, state: UnitState | None) -> bool:
        """Takes a place of a unit and outcome, or of EXPOSURES; False: there is none."""
        taken = self._taken.get((unit, name))
        if taken is None:
            taken = 0 if state is None else state.taken(name)
        if unit not in self._all:
            self._all[unit] = 0 if state is None else state.taken_of_all()
        every = self._all[unit]
        if taken >= self._limits.unit_events or every >= self._limits.unit_all_events:
            self.capped.add(unit)
            return False
        self._taken[unit, name], self._all[unit] = taken + 1, every + 1
        return True

    def refusal(self, event: Event, unit: str, what: str) -> Refusal:
        """The answer to an event that found no place."""
        full = self._all[unit] >= self._limits.unit_all_events
        most = f"{self._limits.unit_all_events} events" if full else f"{self._limits.unit_events} {what}"
        return Refusal(event.event_id, f"unit {unit!r}: more than {most} in one experiment", "capped")


def _judge(experiment: Experiment, events: Sequence[E], stored: Mapping[str, E], gone: Mapping[str, int]) -> Judged[E]:
    judged = Judged(events)
    first: dict[str, E] = dict(stored)
    for event in events:
        earlier = first.get(event.event_id)
        refusal: Refusal | None = None
        if earlier != event:
            refusal = _refusal(event, experiment, gone)
            if refusal is None and earlier is not None:
                refusal = _conflict(event, earlier)
            if refusal is None:
                first[event.event_id] = judged.fresh[event.event_id] = event
        judged.refusals.append(refusal)
    return judged


def _refusal(event: Event, experiment: Experiment, gone: Mapping[str, int]) -> Refusal | None:
    """Why an event cannot be taken in whatever is stored; None: it can."""
    catalogue = experiment.catalogue
    untimely = _untimely(event, experiment, gone)
    if untimely is not None:
        return untimely
    if isinstance(event, Exposure):
        return _mirrored(event) if mirrored(event, catalogue) else None
    if event.metric not in catalogue.outcome_names:
        known = ", ".join(sorted(catalogue.outcome_names))
        reason = f"metric {event.metric!r}: experiment {experiment.name!r} counts {known}"
        return Refusal(event.event_id, reason, "unknown")
    bounds = catalogue.bounds(event.metric)
    if not bounds.lowest * MICRO <= event.value <= bounds.highest * MICRO:
        right = f"{event.metric!r} is between {bounds.lowest:g} and {bounds.highest:g}"
        return Refusal(event.event_id, f"value {event.value / MICRO:g}: {right}")
    return None


def _mirrored(event: Exposure) -> Refusal:
    right = f"the candidate's share of phase {event.phase} is expected, whichever arm the unit got"
    return Refusal(event.event_id, f"propensity {event.propensity:g}: {right}")


def _untimely(event: Event, experiment: Experiment, gone: Mapping[str, int]) -> Refusal | None:
    if experiment.ended_us is not None:
        return Refusal(event.event_id, f"experiment {experiment.name!r} has ended", "ended")
    if event.time_us < experiment.horizon_us:
        reason = f"events before {experiment.horizon_us / SECOND} were let go, and none are taken any more"
        return Refusal(event.event_id, f"time {event.time_us / SECOND}: {reason}", "too_old")
    if event.time_us < experiment.earliest_us:
        reason = f"experiment {experiment.name!r} takes none before {experiment.earliest_us / SECOND}"
        return Refusal(event.event_id, f"time {event.time_us / SECOND}: {reason}", "too_old")
    if event.unit is not None and event.time_us <= gone.get(event.unit, 0):
        return Refusal(event.event_id, "its unit was deleted after that time", "deleted")
    return None


def _conflict(event: Event, earlier: Event) -> Refusal:
    name = "exposure_id" if isinstance(event, Exposure) else "event_id"
    field = next(field for field in event.__slots__ if getattr(event, field) != getattr(earlier, field, None))
    given, kept = (_shown(field, getattr(each, field, None)) for each in (event, earlier))
    reason = f"{name} {event.event_id!r}: {field.removesuffix('_us')} {given} is given, {kept} is kept already"
    return Refusal(event.event_id, reason, "conflict")


def _shown(field: str, value: object) -> str:
    """A field as its sender writes it."""
    if isinstance(value, int) and field in {"time_us", "value"}:
        return f"{value / MICRO:.15g}"
    return short(value)
