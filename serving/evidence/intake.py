"""Takes a batch of events into the database: each is judged alone, and all that are good are one transaction.

Adding an event costs the same whatever is stored: its unit's rows are read, changed and written, and so are the
aggregates that they count in. Only an event that changes where earlier ones of the same unit belong (an exposure that
comes after an outcome or an exposure that it precedes) replays that unit's own events, which are bounded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, update

from serving.evidence import aggregate_store, bulk, experiment_store, reference_store, unit_store
from serving.evidence.contribution import Change, TallyKey, deltas
from serving.evidence.event import Answer, Event, Exposure, Outcome, Refusal
from serving.evidence.experiment_store import Experiment
from serving.evidence.judgement import Judged, Room, judge_exposures, judge_outcomes
from serving.evidence.limits import Limits
from serving.evidence.reference import References
from serving.evidence.reference_store import Moved
from serving.evidence.schema import exposures, outcomes, unplaced
from serving.evidence.unclaimed import refuse_unknown
from serving.evidence.unit import UnitState, add_exposure, add_outcome, replay, take_out_waiting
from serving.experiment.design import EXPOSURES


def take(connection: Connection, events: Sequence[Event], limits: Limits) -> list[Answer]:
    """Takes events in, in the caller's transaction; answers in their order. They count once it has committed."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, event in enumerate(events):
        places[event.experiment].append(place)
    known = experiment_store.lock(connection, places)
    answers: dict[int, Answer] = {}
    for name, experiment in known.items():
        answers |= _Batch(connection, experiment, limits).take({place: events[place] for place in places[name]})
    unknown = {name: [events[place] for place in mine] for name, mine in places.items() if name not in known}
    for name, refusals in refuse_unknown(connection, unknown, limits).items():
        answers |= zip(places[name], refusals, strict=True)
    return [answers[place] for place in range(len(events))]


class _Batch:
    """Events of one experiment in one transaction."""

    def __init__(self, connection: Connection, experiment: Experiment, limits: Limits) -> None:
        self._connection, self._experiment, self._limits = connection, experiment, limits
        self._room = Room(limits)
        self._before: dict[str, UnitState] = {}
        self._loaded: set[str] = set()
        self._waiting = 0
        """How many more outcomes wait without a unit."""
        self._new = _New()

    def take(self, events: dict[int, Event]) -> dict[int, Answer]:
        seen_at = {place: event for place, event in events.items() if isinstance(event, Exposure)}
        done_at = {place: event for place, event in events.items() if isinstance(event, Outcome)}
        seen = judge_exposures(self._connection, self._experiment, list(seen_at.values()))
        done = judge_outcomes(self._connection, self._experiment, list(done_at.values()))
        moved = self._show(seen)
        references = reference_store.references(
            self._connection, self._experiment, [*done.fresh.values(), *moved.explained, *moved.changed]
        )
        owners = {event_id: references.owner(event) for event_id, event in done.fresh.items()}
        owners |= {event.event_id: references.owner(event) for event in (*moved.explained, *moved.changed)}
        self._load({owner for owner in owners.values() if owner is not None} | moved_units(moved))
        self._rename(moved, owners)
        self._cap(done, owners)
        fresh = list(done.fresh.values())
        records = [unit_store.outcome_record(self._experiment, event, owners[event.event_id]) for event in fresh]
        bulk.insert_new(self._connection, outcomes, records)
        for event in fresh:
            self._new.do(event, owners[event.event_id])
            self._waiting += owners[event.event_id] is None
        self._count(references)
        return dict(zip([*seen_at, *done_at], [*seen.answers(), *done.answers()], strict=True))

    def _show(self, seen: Judged[Exposure]) -> Moved:
        """Keeps new exposures; returns earlier outcomes that name them."""
        self._load({event.unit for event in seen.fresh.values()})
        over = {
            event_id: self._room.refusal(event, event.unit, "exposures")
            for event_id, event in seen.fresh.items()
            if not self._room.admit(event.unit, EXPOSURES, self._before.get(event.unit))
        }
        seen.refuse(over)
        shown = list(seen.fresh.values())
        named = [event for event in shown if event.request_id is not None]
        before = reference_store.requests_of(
            self._connection,
            self._experiment,
            {(str(event.request_id), event.unit) for event in named},
            {str(event.request_id) for event in named},
        )
        bulk.insert_new(self._connection, exposures, unit_store.exposure_records(self._experiment, shown))
        early = {(event.phase, event.unit) for event in shown if self._experiment.catalogue.run_of(event.phase) is None}
        keys = [{"experiment_id": self._experiment.id, "phase": phase, "unit": unit} for phase, unit in sorted(early)]
        bulk.insert_new(self._connection, unplaced, keys)
        for event in shown:
            self._new.show(event)
        return reference_store.moved(self._connection, self._experiment, shown, before)

    def _load(self, names: Iterable[str]) -> None:
        wanted = set(names) - self._loaded
        self._before |= unit_store.load(self._connection, self._experiment, wanted)
        self._loaded |= wanted

    def _rename(self, moved: Moved, owners: dict[str, str | None]) -> None:
        """Hands earlier outcomes to the units of their exposures, and notes which units that asks to replay."""
        over: list[str] = []
        changed = {event.event_id for event in moved.changed}
        for event in (*moved.explained, *moved.changed):
            before, owner = moved.owners[event.event_id], owners[event.event_id]
            if before is None and owner is not None:
                self._waiting -= 1
                if not self._room.admit(owner, event.metric, self._before.get(owner)):
                    over.append(event.event_id)
                    continue
            self._waiting += before is not None and owner is None
            if owner != before:
                mine = (outcomes.c.experiment_id == self._experiment.id, outcomes.c.event_id == event.event_id)
                self._connection.execute(update(outcomes).where(*mine).values(owner=owner))
            if event.event_id in changed:
                self._new.replayed |= {name for name in (before, owner) if name is not None}
            elif before is None:
                self._new.do(event, owner)
            else:
                self._new.explained[before].append(event)
        bulk.delete_ids(self._connection, outcomes, "event_id", over, experiment_id=self._experiment.id)

    def _cap(self, done: Judged[Outcome], owners: dict[str, str | None]) -> None:
        """Refuses outcomes beyond the cap of their unit, or without one of the reference that they name."""
        over: dict[str, Refusal] = {}
        unowned: dict[str, list[Outcome]] = {"exposure_id": [], "request_id": []}
        for event_id, event in done.fresh.items():
            owner = owners[event_id]
            if owner is None:
                unowned["request_id" if event.exposure_id is None else "exposure_id"].append(event)
            elif not self._room.admit(owner, event.metric, self._before.get(owner)):
                over[event_id] = self._room.refusal(event, owner, f"outcomes {event.metric!r}")
        for column, events in unowned.items():
            over |= self._cap_references(column, events)
        done.refuse(over)

    def _cap_references(self, column: str, events: Sequence[Outcome]) -> dict[str, Refusal]:
        names = {event.event_id: str(getattr(event, column)) for event in events}
        counts = reference_store.waiting_of(self._connection, self._experiment, column, set(names.values()))
        over: dict[str, Refusal] = {}
        for event_id, name in names.items():
            counts[name] = counts.get(name, 0) + 1
            if counts[name] > self._limits.reference_events:
                reason = f"{column} {name!r}: more than {self._limits.reference_events} outcomes without a unit name it"
                over[event_id] = Refusal(event_id, reason, "capped")
        return over

    def _count(self, references: References) -> None:
        """Brings the units and the aggregates to what the events make of them."""
        replayed = set(self._new.replayed)
        self._load(self._room.capped)
        after: dict[str, UnitState] = {}
        for name in self._new.units - replayed:
            state = self._new.add(name, self._before.get(name), references)
            if state is None:
                replayed.add(name)
            else:
                after[name] = state
        after |= replay_units(self._connection, self._experiment, self._before, replayed)
        for name in self._room.capped:
            known = self._before.get(name)
            after.setdefault(name, UnitState() if known is None else known.copy()).capped = True
        before = {name: self._before[name] for name in after if name in self._before}
        changes = [Change(before.get(name), state) for name, state in after.items()]
        sums = deltas(changes, self._experiment.catalogue, self._experiment.settled_us)
        if self._waiting:
            key = TallyKey("waiting", -1)
            sums[key] = [sums.get(key, [0])[0] + self._waiting]
        unit_store.save(self._connection, self._experiment, before, after)
        aggregate_store.add(self._connection, self._experiment, sums)


class _New:
    """What a batch brings, by the unit that it counts for."""

    def __init__(self) -> None:
        self._shown: dict[str, list[Exposure]] = defaultdict(list)
        self._done: dict[str, list[Outcome]] = defaultdict(list)
        self.explained: dict[str, list[Outcome]] = defaultdict(list)
        """Outcomes of the unit that waited for an exposure of this batch."""
        self.replayed: set[str] = set()
        """Units whose earlier outcomes may count elsewhere now."""

    def show(self, event: Exposure) -> None:
        self._shown[event.unit].append(event)

    def do(self, event: Outcome, owner: str | None) -> None:
        if owner is not None:
            self._done[owner].append(event)

    @property
    def units(self) -> set[str]:
        return {*self._shown, *self._done, *self.explained}

    def add(self, name: str, before: UnitState | None, references: References) -> UnitState | None:
        """The unit's state with its new events; None: it has to be replayed."""
        shown, done, catalogue = self._shown.get(name, []), self._done.get(name, []), references.catalogue
        if before is None:
            return replay(UnitState(), shown, done, catalogue)
        state = before.copy()
        for event in sorted(shown, key=lambda event: (event.time_us, event.exposure_id)):
            if not add_exposure(state, event, catalogue):
                return None
        explained = self.explained.get(name, [])
        for outcome in explained:
            take_out_waiting(state, outcome)
        added = (add_outcome(state, outcome, references.label(outcome), catalogue) for outcome in (*explained, *done))
        return state if all(added) else None


def moved_units(moved: Moved) -> set[str]:
    """The units that these outcomes counted for."""
    return {owner for owner in moved.owners.values() if owner is not None}


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
