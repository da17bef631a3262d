"""Takes a batch of events into the database: each is judged alone, and all that are good are one transaction.

Adding an event costs the same whatever is stored: its unit's rows are read, changed and written, and so are the
aggregates that they count in. Only an event that changes where earlier ones of the same unit belong (an exposure that
comes late, or the first of a phase) replays that unit's own events.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, update

from serving.evidence import aggregate_store, bulk, experiment_store, unit_store
from serving.evidence.contribution import Change, TallyKey, deltas
from serving.evidence.event import Answer, Event, Exposure, Outcome, Refusal
from serving.evidence.experiment_store import Experiment
from serving.evidence.judgement import cap_exposures, cap_outcomes, judge_exposures, judge_outcomes
from serving.evidence.limits import Limits
from serving.evidence.schema import exposures, outcomes
from serving.evidence.unit import References, UnitState, add_exposure, add_outcome, replay


def take(connection: Connection, events: Sequence[Event], limits: Limits) -> list[Answer]:
    """Takes events in, in the caller's transaction; answers in their order. They count once it has committed."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, event in enumerate(events):
        places[event.experiment].append(place)
    known = experiment_store.lock(connection, places)
    answers: dict[int, Answer] = {}
    for name, mine in places.items():
        if name in known:
            batch = _Batch(connection, known[name], limits.unit_events_per_hour)
            answers |= batch.take({place: events[place] for place in mine})
        else:
            reason = f"experiment {name!r}: nobody registered it"
            answers |= {place: Refusal(events[place].event_id, reason, "unknown") for place in mine}
    return [answers[place] for place in range(len(events))]


class _Batch:
    """Events of one experiment in one transaction."""

    def __init__(self, connection: Connection, experiment: Experiment, most: int) -> None:
        self._connection, self._experiment, self._most = connection, experiment, most

    def take(self, events: dict[int, Event]) -> dict[int, Answer]:
        seen_at = {place: event for place, event in events.items() if isinstance(event, Exposure)}
        done_at = {place: event for place, event in events.items() if isinstance(event, Outcome)}
        seen = judge_exposures(self._connection, self._experiment, list(seen_at.values()))
        capped = cap_exposures(self._connection, self._experiment, seen, self._most)
        shown = list(seen.fresh.values())
        bulk.insert_new(self._connection, exposures, unit_store.exposure_records(self._experiment, shown))
        done = judge_outcomes(self._connection, self._experiment, list(done_at.values()))
        moved = self._referring(shown)
        references = self._references([*done.fresh.values(), *moved])
        owners = {event_id: references.owner(event) for event_id, event in done.fresh.items()}
        capped |= cap_outcomes(self._connection, self._experiment, done, owners, self._most)
        fresh = list(done.fresh.values())
        records = [unit_store.outcome_record(self._experiment, event, owners[event.event_id]) for event in fresh]
        bulk.insert_new(self._connection, outcomes, records)
        replayed, waiting = self._reown(moved, references)
        waiting += sum(owners[event.event_id] is None for event in fresh)
        grouped = _Grouped(shown, [(owners[event.event_id], event) for event in fresh], references)
        self._count(grouped, replayed, capped, waiting)
        return dict(zip([*seen_at, *done_at], [*seen.answers(), *done.answers()], strict=True))

    def _referring(self, shown: Sequence[Exposure]) -> dict[Outcome, str | None]:
        """Outcomes that came before the exposure that they name, and the units that they counted for until now."""
        by_id = [self._key(exposure_id=event.exposure_id) for event in shown]
        requests = {event.request_id for event in shown} - {None}
        by_request = [self._key(request_id=request) for request in sorted(map(str, requests))]
        rows = [
            *bulk.fetch(self._connection, outcomes, by_id, lead="experiment_id"),
            *bulk.fetch(self._connection, outcomes, by_request, lead="experiment_id"),
        ]
        return {unit_store.outcome_of(row, self._experiment.name): row.owner for row in rows}

    def _references(self, events: Iterable[Outcome]) -> References:
        """All exposures that these outcomes name."""
        ids = {event.exposure_id for event in events} - {None}
        requests = {event.request_id for event in events if event.exposure_id is None} - {None}
        by_id = [self._key(exposure_id=found) for found in sorted(map(str, ids))]
        by_request = [self._key(request_id=found) for found in sorted(map(str, requests))]
        rows = [
            *bulk.fetch(self._connection, exposures, by_id, lead="experiment_id"),
            *bulk.fetch(self._connection, exposures, by_request, lead="experiment_id"),
        ]
        found = {row.exposure_id: unit_store.exposure_of(row, self._experiment.name) for row in rows}
        return References(found.values(), self._experiment.catalogue)

    def _reown(self, moved: dict[Outcome, str | None], references: References) -> tuple[set[str], int]:
        """Hands earlier outcomes to the units of their exposures. Returns the units to replay, and how many more
        outcomes wait without a unit than before (fewer: below 0)."""
        units: set[str] = set()
        waiting = 0
        for event, before in moved.items():
            owner = references.owner(event)
            units |= {name for name in (before, owner) if name is not None}
            if owner != before:
                waiting += (owner is None) - (before is None)
                self._connection.execute(
                    update(outcomes)
                    .where(outcomes.c.experiment_id == self._experiment.id, outcomes.c.event_id == event.event_id)
                    .values(owner=owner)
                )
        return units, waiting

    def _count(self, grouped: _Grouped, replayed: set[str], capped: set[str], waiting: int) -> None:
        """Brings the units and the aggregates to what the events make of them."""
        names = grouped.units | replayed | capped
        before = unit_store.load(self._connection, self._experiment, names)
        after: dict[str, UnitState] = {}
        for name in grouped.units - replayed:
            state = grouped.add(name, before.get(name), self._experiment)
            if state is None:
                replayed.add(name)
            else:
                after[name] = state
        after |= replay_units(self._connection, self._experiment, before, replayed)
        for name in capped:
            after.setdefault(name, before[name].copy() if name in before else UnitState()).capped = True
        changes = [Change(before.get(name), state) for name, state in after.items()]
        sums = deltas(changes, self._experiment.catalogue, self._experiment.settled_us)
        if waiting:
            key = TallyKey("waiting", -1)
            sums[key] = [sums.get(key, [0])[0] + waiting]
        unit_store.save(self._connection, self._experiment, before, after)
        aggregate_store.add(self._connection, self._experiment, sums)

    def _key(self, **column: str) -> bulk.Record:
        return {"experiment_id": self._experiment.id, **column}


class _Grouped:
    """New events by the unit that they count for."""

    def __init__(
        self, shown: Sequence[Exposure], done: Sequence[tuple[str | None, Outcome]], references: References
    ) -> None:
        self._references = references
        self._shown: dict[str, list[Exposure]] = defaultdict(list)
        self._done: dict[str, list[Outcome]] = defaultdict(list)
        for event in shown:
            self._shown[event.unit].append(event)
        for owner, outcome in done:
            if owner is not None:
                self._done[owner].append(outcome)
        self.units = self._shown.keys() | self._done.keys()

    def add(self, name: str, before: UnitState | None, experiment: Experiment) -> UnitState | None:
        """The unit's state with its new events; None: it has to be replayed."""
        shown, done = self._shown.get(name, []), self._done.get(name, [])
        if before is None:
            return replay(UnitState(), shown, done, experiment.catalogue)
        state = before.copy()
        for event in sorted(shown, key=lambda event: (event.time_us, event.exposure_id)):
            if not add_exposure(state, event, experiment.catalogue):
                return None
        for outcome in done:
            add_outcome(state, outcome, self._references.label(outcome), experiment.catalogue)
        return state


def replay_units(
    connection: Connection, experiment: Experiment, before: dict[str, UnitState], names: set[str]
) -> dict[str, UnitState]:
    """The states of units from their raw events, on top of what was folded away."""
    if not names:
        return {}
    folded = unit_store.load_folded(connection, experiment, names)
    shown, done = unit_store.load_events(connection, experiment, names)
    after = {}
    for name in names:
        state = replay(folded[name], shown[name], done[name], experiment.catalogue)
        if name in before:
            state.covariates, state.capped = dict(before[name].covariates), before[name].capped
        after[name] = state
    return after
