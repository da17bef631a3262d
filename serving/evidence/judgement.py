"""Which events of a batch are new, which were delivered before, and which are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sqlalchemy import Connection, Table

from serving.evidence import bulk, unit_store
from serving.evidence.event import HOUR, MICRO, SECOND, Accepted, Answer, Event, Exposure, Outcome, Refusal
from serving.evidence.experiment_store import Experiment
from serving.evidence.schema import exposures, outcomes

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
    return _judge(experiment, events, stored)


def judge_outcomes(connection: Connection, experiment: Experiment, events: Sequence[Outcome]) -> Judged[Outcome]:
    """Judges outcomes against the design and what is stored."""
    keys = [{"experiment_id": experiment.id, "event_id": event.event_id} for event in events]
    rows = bulk.fetch(connection, outcomes, keys, lead="experiment_id")
    stored = {row.event_id: unit_store.outcome_of(row, experiment.name) for row in rows}
    return _judge(experiment, events, stored)


def cap_exposures(connection: Connection, experiment: Experiment, judged: Judged[Exposure], most: int) -> set[str]:
    """Refuses new exposures beyond `most` of one unit in one hour; returns the units that had some refused."""
    places = {event.exposure_id: {"unit": event.unit, "from_us": _hour(event)} for event in judged.fresh.values()}
    over = _over(connection, experiment, exposures, places, most)
    units = {judged.fresh[event_id].unit for event_id in over}
    _refuse(judged, over, most, lambda event: (event.unit, "exposures"))
    return units


def cap_outcomes(
    connection: Connection,
    experiment: Experiment,
    judged: Judged[Outcome],
    owners: Mapping[str, str | None],
    most: int,
) -> set[str]:
    """Refuses new outcomes beyond `most` of one unit and metric in one hour; returns the units that had some refused.

    An outcome without a unit, whose exposure has not come, is capped by the reference that it names.
    """
    places: dict[str, dict[str, dict[str, object]]] = {"owner": {}, "exposure_id": {}, "request_id": {}}
    for event in judged.fresh.values():
        owner = owners[event.event_id]
        column = "owner" if owner is not None else "exposure_id" if event.exposure_id is not None else "request_id"
        value = owner or event.exposure_id or event.request_id
        places[column][event.event_id] = {column: value, "metric": event.metric, "from_us": _hour(event)}
    over = [event_id for keyed in places.values() for event_id in _over(connection, experiment, outcomes, keyed, most)]
    units = {owner for event_id in over if (owner := owners[event_id]) is not None}
    _refuse(judged, over, most, lambda event: (owners[event.event_id], f"outcomes {event.metric!r}"))
    return units


def _judge(experiment: Experiment, events: Sequence[E], stored: Mapping[str, E]) -> Judged[E]:
    judged = Judged(events)
    first: dict[str, E] = dict(stored)
    for event in events:
        earlier = first.get(event.event_id)
        refusal: Refusal | None = None
        if earlier != event:
            refusal = _refusal(event, experiment)
            if refusal is None and earlier is not None:
                refusal = _conflict(event, earlier)
            if refusal is None:
                first[event.event_id] = judged.fresh[event.event_id] = event
        judged.refusals.append(refusal)
    return judged


def _refusal(event: Event, experiment: Experiment) -> Refusal | None:
    """Why an event cannot be taken in whatever is stored; None: it can."""
    if event.time_us < experiment.horizon_us:
        horizon = experiment.horizon_us / SECOND
        reason = f"time {event.time_us / SECOND}: events before {horizon} were let go, and none are taken any more"
        return Refusal(event.event_id, reason, "too_old")
    if isinstance(event, Exposure):
        return None
    catalogue = experiment.catalogue
    if event.metric not in catalogue.outcome_names:
        known = ", ".join(sorted(catalogue.outcome_names))
        reason = f"metric {event.metric!r}: experiment {experiment.name!r} counts {known}"
        return Refusal(event.event_id, reason, "unknown")
    bounds = catalogue.bounds(event.metric)
    if not bounds.lowest * MICRO <= event.value <= bounds.highest * MICRO:
        right = f"{event.metric!r} is between {bounds.lowest:g} and {bounds.highest:g}"
        return Refusal(event.event_id, f"value {event.value / MICRO:g}: {right}")
    return None


def _conflict(event: Event, earlier: Event) -> Refusal:
    name = "exposure_id" if isinstance(event, Exposure) else "event_id"
    differing = next(field for field in event.__slots__ if getattr(event, field) != getattr(earlier, field, None))
    reason = f"{name} {event.event_id!r}: an event of this id and another {differing} is kept already"
    return Refusal(event.event_id, reason, "conflict")


def _over(
    connection: Connection,
    experiment: Experiment,
    table: Table,
    places: Mapping[str, Mapping[str, object]],
    most: int,
) -> list[str]:
    """Ids of the events that are one too many where they count, in their order."""
    unique = {tuple(place.values()): {"experiment_id": experiment.id, **place} for place in places.values()}
    counts = bulk.count_within(connection, table, list(unique.values()), lead="experiment_id", span_us=HOUR)
    over = []
    for event_id, place in places.items():
        key = tuple(place.values())
        counts[key] = counts.get(key, 0) + 1
        if counts[key] > most:
            over.append(event_id)
    return over


def _refuse(judged: Judged[E], over: Sequence[str], most: int, named: Callable[[E], tuple[str | None, str]]) -> None:
    for event_id in over:
        event = judged.fresh.pop(event_id)
        unit, what = named(event)
        whose = f"unit {unit!r}" if unit is not None else "one reference"
        reason = f"{whose}: more than {most} {what} in the hour of time {event.time_us / SECOND}"
        judged.capped[event_id] = Refusal(event_id, reason, "capped")


def _hour(event: Event) -> int:
    return event.time_us - event.time_us % HOUR
