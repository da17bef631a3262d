from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, delete, insert, select

from benchmarks.evidence.postgres import PostgresServer
from model.errors import Fault, UserError
from serving.evidence import maturity, placement, retention, unit, unit_store
from serving.evidence.covariate import Covariate, upload
from serving.evidence.deletion import delete_unit
from serving.evidence.engine import open_engine, reading, writing
from serving.evidence.event import Accepted, Event, Exposure, Outcome, Refusal
from serving.evidence.experiment_store import Experiment
from serving.evidence.limits import Limits
from serving.evidence.migration import migrate
from serving.evidence.readout import read_evidence
from serving.evidence.registration import PhaseStart, start_phase
from serving.evidence.retention import prune
from serving.evidence.schema import deletions, metadata, outcomes, tallies, units, unplaced
from tests.serving.evidence import evidence_oracle as oracle
from tests.serving.evidence.conftest import quick_engine
from tests.serving.evidence.evidence_world import (
    FIRST,
    SECOND_RUN,
    T0,
    WORLD,
    begin,
    exposure,
    give_covariates,
    outcome,
    prepare,
    same,
    send,
    stored,
    streams,
)

NOW = T0 + 320.0


def empty(engine: Engine) -> Engine:
    """The same database without rows."""
    with writing(engine) as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))
    return engine


def check(engine: Engine, events: tuple[list[Exposure], list[Outcome]], world: oracle.World = WORLD) -> None:
    for design in (FIRST, SECOND_RUN):
        found, expected = stored(engine, design, NOW), oracle.evidence(world, design, *events, NOW)
        assert same(found, expected), f"{found}\n{expected}"


def deliver(engine: Engine, events: list[Event], draw: random.Random) -> None:
    """In any order, some more than once, in batches of any size; phases and covariates come in between."""
    sent = events + draw.sample(events, len(events) // 3)
    draw.shuffle(sent)
    phases = [1, 2, 3]
    draw.shuffle(phases)
    prepare(engine, (), covariates=False)
    steps = [lambda: give_covariates(engine), *(lambda phase=phase: begin(engine, phase) for phase in phases)]
    while sent or steps:
        if steps and draw.random() < 0.3:
            steps.pop()()
        if sent and draw.random() < 0.2:
            stored(engine, FIRST, T0 + draw.uniform(0, 320))
        size = draw.randint(1, 6)
        batch, sent = sent[:size], sent[size:]
        send(engine, *batch)


@pytest.fixture(autouse=True, scope="module")
def _small_steps() -> Iterator[None]:
    """Maturing and folding happen in many transactions."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(maturity, "STEP", 1)
        patched.setattr(retention, "UNITS", 1)
        patched.setattr(placement, "UNITS", 1)
        patched.setattr(unit, "TIMELINE", 2)
        yield


@pytest.fixture(scope="module")
def one_engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return quick_engine(tmp_path_factory.mktemp("evidence"))


@pytest.fixture(scope="module")
def postgresql_engine(postgres_server: PostgresServer) -> Iterator[Engine]:
    made = open_engine(postgres_server.make_database())
    migrate(made)
    yield made
    made.dispose()


Events = tuple[list[Exposure], list[Outcome]]


@given(events=streams(), seed=st.integers(0, 2**32))
@settings(max_examples=50)
def test_any_order_and_repetition_of_events_gives_what_a_recomputation_gives(
    one_engine: Engine, events: Events, seed: int
) -> None:
    deliver(empty(one_engine), [*events[0], *events[1]], random.Random(seed))
    check(one_engine, events)


@given(events=streams(), seed=st.integers(0, 2**32))
@settings(max_examples=8)
def test_postgresql_gives_the_same(postgresql_engine: Engine, events: Events, seed: int) -> None:
    deliver(empty(postgresql_engine), [*events[0], *events[1]], random.Random(seed))
    check(postgresql_engine, events)


@given(events=streams(), seed=st.integers(0, 2**32), who=st.sampled_from(["u1", "u2"]))
@settings(max_examples=30)
def test_a_deleted_unit_is_as_if_it_had_never_been_seen(
    one_engine: Engine, events: Events, seed: int, who: str
) -> None:
    deliver(empty(one_engine), [*events[0], *events[1]], random.Random(seed))
    delete_unit(one_engine, who, round((T0 + 1000) * 1e6))
    shown = sorted(events[0], key=lambda e: (e.time_us, e.exposure_id))
    left = [e for e in events[0] if e.unit != who]
    done = [o for o in events[1] if owner(o, shown) != who and not may_be_of(o, who, shown)]
    check(one_engine, (left, done))
    assert who not in dump(one_engine)


@given(events=streams(), seed=st.integers(0, 2**32), horizon=st.integers(0, 400), share=st.floats(0, 1))
@settings(max_examples=60)
def test_letting_old_events_go_changes_no_evidence_then_or_later(
    one_engine: Engine, events: Events, seed: int, horizon: int, share: float
) -> None:
    """Whatever came before or comes after; outcomes that still wait by then are given up, as documented."""
    cut, draw = (T0 + horizon) * 1_000_000, random.Random(seed)
    shown = sorted(events[0], key=lambda e: (e.time_us, e.exposure_id))
    done = [o for o in events[1] if not astride(o, shown, cut)]
    every: list[Event] = [*shown, *done]
    first = [event for event in every if draw.random() < share]
    deliver(empty(one_engine), first, draw)
    given = [e for e in shown if e in first], [o for o in done if o in first]
    check(one_engine, given)
    fold = bounded(retention._fold, 2 * len({e.unit for e in shown} | {o.unit for o in done}) + 1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(retention, "_fold", fold)
        prune(one_engine, "ranking", cut)
    pins = {o.event_id: pin for o in given[1] if (pin := oracle.exposure_of(o, given[0])) and folded(o, pin, cut)}
    world = replace(WORLD, horizon_us=cut, folded=pins)
    left = [o for o in given[1] if o.event_id in pins or o.time_us >= cut or waits_for_fold(o, given[0], cut)]
    check(one_engine, (given[0], left), world)
    later = [event for event in every if event.time_us >= cut]
    draw.shuffle(later)
    for place in range(0, len(later), 3):
        send(one_engine, *later[place : place + 3])
    left += [o for o in done if o.time_us >= cut and o not in given[1]]
    check(one_engine, ([e for e in shown if e in given[0] or e.time_us >= cut], left), world)
    early = [event for event in every if event.time_us < cut and event not in left]
    assert [type(answer) for answer in send(one_engine, *early)] == [Refusal] * len(early)


@given(events=streams(), other=streams(), seed=st.integers(0, 2**32))
@settings(max_examples=15)
def test_a_run_is_untouched_by_the_events_of_another(
    one_engine: Engine, events: Events, other: Events, seed: int
) -> None:
    """Invariants 7 and 8: evidence is keyed by experiment, digest, phase and slice."""
    deliver(empty(one_engine), [*events[0], *events[1]], random.Random(seed))
    before = stored(one_engine, FIRST, NOW)
    foreign = [
        replace(e, exposure_id=f"x{e.exposure_id}", unit=f"x{e.unit}", phase=3, request_id=None) for e in other[0]
    ]
    later = [
        replace(o, event_id=f"x{o.event_id}", unit=f"x{o.unit}", exposure_id=None, request_id=None) for o in other[1]
    ]
    send(one_engine, *foreign, *later)
    after = stored(one_engine, FIRST, NOW)
    assert {**after, "waiting": 0} == {**before, "waiting": 0}


def test_an_outcome_before_its_exposure_waits_and_counts_when_it_comes(engine: Engine) -> None:
    prepare(engine)
    send(engine, outcome("o1", at=5, exposure_id="e1"), outcome("o2", at=6, unit="u1"))
    assert stored(engine, FIRST, NOW)["waiting"] == 2
    send(engine, exposure("e1", at=1))
    found = stored(engine, FIRST, NOW)
    assert found["waiting"] == 0
    check(engine, ([exposure("e1", at=1)], [outcome("o1", at=5, exposure_id="e1"), outcome("o2", at=6, unit="u1")]))


def test_an_outcome_after_its_window_is_counted_apart_and_one_that_comes_late_is_not(engine: Engine) -> None:
    prepare(engine)
    send(engine, exposure("e1", at=0), outcome("o1", "buy", 2, at=101, unit="u1"))
    assert mean(engine, "revenue") == 0.0
    send(engine, outcome("o2", "buy", 3, at=99, unit="u1"))
    assert mean(engine, "revenue") == 3.0
    metrics = stored(engine, FIRST, NOW)["metrics"]
    assert isinstance(metrics, list)
    assert metrics[0]["late"] == {"baseline": 1, "candidate": 0}


def test_a_unit_enters_an_aggregate_when_its_window_has_closed(engine: Engine) -> None:
    prepare(engine)
    send(engine, exposure("e1", at=10), exposure("e2", "u2", at=50))
    for moment, mature in ((109, 0), (110, 1), (150, 2)):
        metrics = stored(engine, FIRST, T0 + moment)["metrics"]
        assert isinstance(metrics, list)
        assert metrics[0]["immature"]["baseline"] == 2 - mature


def test_two_arms_in_one_phase_are_a_crossover_and_count_as_nothing_else(engine: Engine) -> None:
    prepare(engine)
    send(engine, exposure("e1"), outcome("o1", at=1, unit="u1"))
    send(engine, exposure("e2", at=2, arm="candidate", digest="c1"))
    found = stored(engine, FIRST, NOW)
    assert (found["crossovers"], found["exposed"]) == (1, {})


def test_a_move_to_the_other_arm_in_the_next_phase_is_no_crossover(engine: Engine) -> None:
    prepare(engine)
    send(engine, exposure("e1"), exposure("e2", at=160, phase=2, arm="candidate", digest="c1"))
    found = stored(engine, FIRST, NOW)
    assert found["crossovers"] == 0
    assert found["exposed"] == {"(1, 0, 'baseline')": [1, 1], "(2, 0, 'candidate')": [1, 0]}


def test_a_unit_that_was_there_in_an_earlier_run_is_not_new_in_the_next(engine: Engine) -> None:
    """What the earlier candidate did to its units would else look like a split that does not hold."""
    prepare(engine)
    shown = [exposure("e1", "u1", at=1), exposure("e2", "u1", at=310, phase=3, arm="candidate", digest="c2")]
    shown.append(exposure("e3", "u2", at=311, phase=3, arm="candidate", digest="c2"))
    send(engine, *shown)
    assert stored(engine, SECOND_RUN, NOW)["exposed"] == {"(3, 0, 'candidate')": [2, 1]}
    check(engine, (shown, []))


def test_a_phase_in_which_nobody_came_yet_is_in_the_evidence(engine: Engine) -> None:
    prepare(engine)
    send(engine, exposure("e1", "u1", at=160, phase=2))
    found = read_evidence(engine, "ranking", round(NOW * 1e6), FIRST.candidate_digest).exposed
    assert [(one.phase, sum(one.units.values())) for one in found] == [(1, 0), (2, 1)]


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Units that were replayed from their raw events."""
    names: list[str] = []
    load_events = unit_store.load_events

    def load(connection: Connection, experiment: Experiment, wanted: Collection[str]) -> object:
        names.extend(wanted)
        return load_events(connection, experiment, wanted)

    monkeypatch.setattr(unit_store, "load_events", load)
    return names


def test_events_that_come_in_order_replay_no_unit(sqlite_engine: Engine, replayed: list[str]) -> None:
    """Nor do the first exposure of a phase, a rolling update, and an outcome that was faster than its exposure."""
    prepare(sqlite_engine)
    events: tuple[Event, ...] = (
        exposure("e1", at=1, request_id="r1"),
        outcome("o1", at=2, unit="u1"),
        exposure("e2", at=3, digest="b1"),
        exposure("e3", at=4),
        outcome("o2", at=5, exposure_id="e4"),
        outcome("o3", at=5, request_id="r4"),
        outcome("o4", at=5, request_id="r4", unit="u1"),
        exposure("e4", at=5, request_id="r4"),
        outcome("o5", at=6, unit="u1"),
        exposure("e5", at=160, phase=2, arm="candidate", digest="c1"),
        outcome("o6", at=161, unit="u1"),
    )
    for event in events:
        send(sqlite_engine, event)
    assert replayed == []
    shown = [event for event in events if isinstance(event, Exposure)]
    check(sqlite_engine, (shown, [event for event in events if isinstance(event, Outcome)]))
    send(sqlite_engine, exposure("e6", at=2, digest="b1"))
    assert replayed == ["u1"]


def test_a_unit_that_changes_for_ever_has_a_timeline_that_ends(sqlite_engine: Engine, replayed: list[str]) -> None:
    prepare(sqlite_engine)
    shown = [exposure(f"e{n}", at=n, digest="b1" if n % 2 else "b0") for n in range(90)]
    send(sqlite_engine, shown[0])
    send(sqlite_engine, *shown[1:])
    with reading(sqlite_engine) as connection:
        assert (
            len(json.loads(connection.execute(select(units.c.timeline).where(units.c.unit == "u1")).scalar_one()))
            <= unit.TIMELINE + 1
        )
    assert replayed == []
    done = [outcome("o1", at=2.5, unit="u1"), outcome("o2", at=88.5, unit="u1")]
    send(sqlite_engine, *done)
    check(sqlite_engine, (shown, done))


def test_a_unit_cannot_tilt_an_experiment_by_spreading_its_events_over_time(engine: Engine) -> None:
    prepare(engine)
    limits = Limits(unit_events=5)
    send(engine, exposure("e1", at=0))
    flood = [outcome(f"o{n}", at=3600 * (n // 5), exposure_id="e1") for n in range(40)]
    answers = send(engine, *flood, limits=limits)
    assert [isinstance(answer, Accepted) for answer in answers] == [n < 5 for n in range(40)]
    named = [replace(event, event_id=f"u{event.event_id}", unit="u1") for event in flood]
    assert not any(isinstance(answer, Accepted) for answer in send(engine, *named[:5], limits=limits))
    found = stored(engine, FIRST, NOW)
    clicks = next(each for each in metrics_of(found) if each["metric"] == "basket")
    assert clicks["strata"][1, 0, "baseline"]["mean"] == [0.0, 5.0]


def test_an_outcome_far_before_the_exposure_that_it_names_does_not_count(engine: Engine) -> None:
    prepare(engine)
    events = [outcome("o1", at=-301, exposure_id="e1"), outcome("o2", at=-299, exposure_id="e1", unit="u1")]
    send(engine, exposure("e1", at=0), *events)
    assert stored(engine, FIRST, NOW)["waiting"] == 1
    check(engine, ([exposure("e1", at=0)], events))


def test_events_from_long_before_the_experiment_are_refused(engine: Engine) -> None:
    prepare(engine)
    old, new = send(engine, outcome("o1", at=-86_401, unit="u1"), outcome("o2", at=-86_399, unit="u1"))
    assert isinstance(old, Refusal)
    assert old.kind == "too_old"
    assert isinstance(new, Accepted)


def test_a_request_id_that_several_units_use_means_none_of_them(engine: Engine) -> None:
    prepare(engine)
    shown = [exposure(f"e{n}", f"u{n % 3}", at=n, request_id="same") for n in range(9)]
    done = [outcome(f"o{n}", at=20, request_id="same", unit=(None, "u1")[n % 2]) for n in range(6)]
    events: tuple[Event, ...] = (shown[0], done[0], done[1], *shown[1:], *done[2:])
    for event in events:
        send(engine, event)
    assert stored(engine, FIRST, NOW)["waiting"] == 3
    check(engine, (shown, done))


def test_outcomes_without_a_unit_have_a_cap_by_the_reference_that_they_name(engine: Engine) -> None:
    prepare(engine)
    limits = Limits(reference_events=2, unit_events=3)
    for column in ("exposure_id", "request_id"):
        named: dict[str, Any] = {column: "e1"}
        flood = [outcome(f"{column}{n}", **named) for n in range(4)]
        answers = [answer for event in flood for answer in send(engine, event, limits=limits)]
        assert [isinstance(answer, Accepted) for answer in answers] == [True, True, False, False]
    send(engine, exposure("e1", request_id="e1"), limits=limits)  # four waited for it, its unit has room for three
    found = stored(engine, FIRST, NOW)
    clicks = next(each for each in metrics_of(found) if each["metric"] == "basket")
    assert clicks["strata"][1, 0, "baseline"]["mean"] == [0.0, 3.0]
    assert found["waiting"] == 0


def test_a_propensity_that_is_the_chance_of_the_arm_is_refused_and_named(engine: Engine) -> None:
    prepare(engine)
    (answer,) = send(engine, exposure("e1", "u1", propensity=0.9))  # the baseline's share; the candidate's is 0.1
    assert answer == Refusal(
        "e1", "propensity 0.9: the candidate's share of phase 1 is expected, whichever arm the unit got"
    )
    even = exposure("e2", "u2", at=160, phase=2, propensity=0.5)
    assert send(engine, even) == [Accepted("e2")]


def test_a_unit_has_a_cap_over_all_its_events(engine: Engine) -> None:
    prepare(engine)
    limits = Limits(unit_events=3, unit_all_events=5)
    events = [exposure(f"e{n}", at=n) for n in range(3)]
    done = [outcome(f"{name}{n}", name, at=n, unit="u1") for n in range(2) for name in ("click", "buy")]
    every: list[Event] = [*events, *done]
    answers = [answer for event in every for answer in send(engine, event, limits=limits)]
    assert [isinstance(answer, Accepted) for answer in answers] == [True] * 5 + [False] * 2
    again = send(engine, *done, limits=limits)
    assert [isinstance(answer, Accepted) for answer in again] == [True] * 2 + [False] * 2


def test_exposures_under_another_weight_than_their_phases_are_no_evidence_and_counted(engine: Engine) -> None:
    prepare(engine)
    propensities = (0.1, 0.10004, None, 0.2)
    send(engine, *(exposure(f"e{n}", f"u{n}", propensity=weight) for n, weight in enumerate(propensities)))
    found = stored(engine, FIRST, NOW)
    assert (found["foreign"], found["exposed"]) == (1, {"(1, 0, 'baseline')": [3, 3]})


def test_exposures_from_long_before_their_phase_are_no_evidence_and_counted(engine: Engine) -> None:
    prepare(engine)
    early = exposure("e1", "u1", at=-301)
    send(engine, early, exposure("e2", "u2", at=-299), outcome("o1", at=1, unit="u1"))
    found = stored(engine, FIRST, NOW)
    assert (found["foreign"], found["exposed"]) == (1, {"(1, 0, 'baseline')": [1, 1]})
    check(engine, ([early, exposure("e2", "u2", at=-299)], [outcome("o1", at=1, unit="u1")]))


def test_phases_begin_in_the_order_of_their_numbers(sqlite_engine: Engine) -> None:
    prepare(sqlite_engine)
    for phase, start in ((4, -1), (0, 301)):
        wrong = PhaseStart("ranking", phase, round((T0 + start) * 1e6), 0.5)
        with (
            pytest.raises(UserError, match=rf"^phase {phase} .* would begin before phase"),
            writing(sqlite_engine) as c,
        ):
            start_phase(c, wrong)
    with writing(sqlite_engine) as connection:
        assert start_phase(connection, PhaseStart("ranking", 4, round((T0 + 10) * 1e6), 0.5))  # another clock


def test_exposures_of_a_phase_that_is_registered_late_are_counted_in_steps(engine: Engine) -> None:
    prepare(engine, ())
    shown = [exposure(f"e{n}", f"u{n}", at=n) for n in range(5)]
    send(engine, *shown)
    begin(engine, 1)
    with reading(engine) as connection:
        assert len(connection.execute(select(unplaced)).all()) == 4  # the first step counts one unit, in this module
    check(engine, (shown, []))
    with reading(engine) as connection:
        assert connection.execute(select(unplaced)).all() == []


def test_a_deleted_unit_does_not_come_back_with_a_repeated_delivery(engine: Engine) -> None:
    prepare(engine)
    events: list[Event] = [exposure("e1", at=1), outcome("o1", at=2, unit="u1")]
    send(engine, *events)
    delete_unit(engine, "u1", round((T0 + 100) * 1e6))
    assert [getattr(answer, "kind", None) for answer in send(engine, *events)] == ["deleted", "deleted"]
    check(engine, ([], []))
    given = Covariate("ranking", "u1", "past", 1)
    with writing(engine) as connection:
        assert [getattr(answer, "kind", None) for answer in upload(connection, [given])] == ["deleted"]
    assert "u1" not in dump(engine)
    later = exposure("e9", at=200)
    assert isinstance(send(engine, later)[0], Accepted)
    prune(engine, "ranking", round((T0 + 150) * 1e6))
    with reading(engine) as connection:
        assert connection.execute(select(deletions)).all() == []


def test_an_outcome_that_lies_after_its_units_deletion_does_not_bring_it_back(engine: Engine) -> None:
    prepare(engine)
    ahead = outcome("o1", at=101, unit="u1")
    send(engine, exposure("e1", at=1), ahead)
    delete_unit(engine, "u1", round((T0 + 100) * 1e6))
    assert [getattr(answer, "kind", None) for answer in send(engine, ahead)] == ["deleted"]
    assert "u1" not in dump(engine)


def test_an_outcome_that_was_folded_with_its_exposure_is_known_when_it_comes_again(engine: Engine) -> None:
    prepare(engine)
    shown, done = exposure("e1", at=1), outcome("o1", at=50, exposure_id="e1")
    send(engine, shown, done)
    before = stored(engine, FIRST, NOW)
    prune(engine, "ranking", round((T0 + 20) * 1e6))
    assert send(engine, done) == [Accepted("o1")]
    assert stored(engine, FIRST, NOW) == before
    prune(engine, "ranking", round((T0 + 60) * 1e6))
    assert isinstance(send(engine, done)[0], Refusal)
    assert stored(engine, FIRST, NOW) == before
    with reading(engine) as connection:
        assert connection.execute(select(outcomes)).all() == []


def test_an_outcome_from_before_the_horizon_waits_to_be_folded_with_its_exposure_from_after_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(engine)
    events = [exposure("e1", at=101)], [outcome("o1", at=99, exposure_id="e1")]
    send(engine, *events[0], *events[1])
    monkeypatch.setattr(retention, "_fold", bounded(retention._fold, 2))
    assert prune(engine, "ranking", round((T0 + 100) * 1e6)) == 0
    check(engine, events)
    send(engine, exposure("e0", at=100.5))  # one that asks for a replay, were the outcome not kept
    assert prune(engine, "ranking", round((T0 + 110) * 1e6)) == 3
    check(engine, ([exposure("e0", at=100.5), *events[0]], events[1]))


@pytest.mark.parametrize("unit", ["u1", None])
@pytest.mark.parametrize("again", ["u1", "u2"])
def test_an_outcome_that_was_folded_does_not_move_when_its_request_id_is_used_again(
    engine: Engine, unit: str | None, again: str
) -> None:
    prepare(engine)
    done = outcome("o1", at=60, unit=unit, request_id="r")
    send(engine, exposure("e1", "u1", at=10, request_id="r"), done)
    prune(engine, "ranking", round((T0 + 50) * 1e6))
    send(engine, exposure("e2", again, at=55, request_id="r"))
    shown = [exposure("e1", "u1", at=10), exposure("e2", again, at=55)]
    check(engine, (shown, [replace(done, unit="u1", request_id=None)]))
    with reading(engine) as connection:
        assert connection.execute(select(outcomes.c.owner)).scalars().all() == ["u1"]


def test_raw_events_of_no_unit_are_let_go_in_steps(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(engine)
    send(engine, *(outcome(f"o{n}", at=n, exposure_id="never") for n in range(7)))
    monkeypatch.setattr(retention, "ROWS", 2)
    monkeypatch.setattr(retention, "_drop", bounded(retention._drop, 6))  # four steps of them, and one that finds none
    assert prune(engine, "ranking", round((T0 + 5) * 1e6)) == 5
    assert stored(engine, FIRST, NOW)["waiting"] == 2


def test_evidence_that_contradicts_itself_is_a_fault_with_a_line(engine: Engine) -> None:
    prepare(engine)
    with writing(engine) as connection:
        connection.execute(insert(tallies).values(experiment_id=1, kind="waiting", phase=-1, number=-1))
    with pytest.raises(Fault, match=r"^experiment 'ranking': its aggregates contradict each other: .*waiting"):
        stored(engine, FIRST, NOW)


def test_two_writers_at_once_lose_nothing(postgresql_engine: Engine) -> None:
    engine = empty(postgresql_engine)
    prepare(engine)
    shown = [exposure(f"e{n}", f"u{n % 7}", at=n % 90) for n in range(120)]
    done = [outcome(f"o{n}", at=n % 90, exposure_id=f"e{n % 120}") for n in range(240)]
    events: list[Event] = [*shown, *done]
    random.Random(1).shuffle(events)
    halves = (events[::2] + events[1::4], events[1::2] + events[::4])  # some events by both

    def work(mine: list[Event]) -> None:
        for place in range(0, len(mine), 7):
            send(engine, *mine[place : place + 7])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, halves))
    check(engine, (shown, done))


def metrics_of(found: oracle.Document) -> list[dict[str, Any]]:
    metrics = found["metrics"]
    assert isinstance(metrics, list)
    return metrics


def mean(engine: Engine, metric: str) -> float:
    found = next(each for each in metrics_of(stored(engine, FIRST, NOW)) if each["metric"] == metric)
    return float(found["strata"][1, 0, "baseline"]["mean"][0])


def owner(event: Outcome, shown: list[Exposure]) -> str | None:
    """The unit that an outcome is of: the one that it names, or that of its exposure."""
    if event.unit is not None:
        return event.unit
    found = oracle.exposure_of(event, shown)
    return None if found is None else found.unit


def may_be_of(event: Outcome, unit: str, shown: list[Exposure]) -> bool:
    """Whether an outcome that nobody owns names a request of the unit and of others."""
    named = event.unit is None and event.exposure_id is None and owner(event, shown) is None
    return named and unit in oracle.users(event, shown)


def astride(event: Outcome, shown: list[Exposure], cut: int) -> bool:
    """Whether an outcome names a request alone that several units used, some before the horizon and some after it:
    what it means then depends on when it came."""
    users = {(e.unit, e.time_us < cut) for e in shown if e.request_id == event.request_id}
    only = event.unit is None and event.exposure_id is None
    return only and len({unit for unit, _ in users}) > 1 and len({old for _, old in users}) > 1


def folded(event: Outcome, pin: Exposure, cut: int) -> bool:
    """Whether an outcome was folded with its exposure, and counts there from then on."""
    return (pin.time_us if event.by_reference else event.time_us) < cut


def waits_for_fold(event: Outcome, shown: list[Exposure], cut: int) -> bool:
    """Whether an outcome before the horizon is kept, since the exposure that it names happened after it."""
    found = oracle.exposure_of(event, shown)
    return event.by_reference and found is not None and found.time_us >= cut


def bounded(work: Callable[..., int], most: int) -> Callable[..., int]:
    """The same, but not more often than that."""
    times = itertools.count(1)

    def once_more(*arguments: object) -> int:
        assert next(times) <= most, "the same is done again and again"
        return work(*arguments)

    return once_more


def dump(engine: Engine) -> str:
    """All that is stored. Random bytes (salt, keyed hashes) as hexadecimal digits, which no unit's name is made of."""

    def shown(value: object) -> str:
        return value.hex() if isinstance(value, bytes) else str(value)

    with reading(engine) as connection:
        rows = [row for table in metadata.sorted_tables for row in connection.execute(select(table))]
    return str([[shown(value) for value in row] for row in rows])
