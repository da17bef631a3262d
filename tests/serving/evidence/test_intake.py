from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, select

from serving.evidence import maturity, retention
from serving.evidence.deletion import delete_unit
from serving.evidence.engine import open_engine, reading, writing
from serving.evidence.event import Event, Exposure, Outcome, Refusal
from serving.evidence.migration import migrate
from serving.evidence.retention import prune
from serving.evidence.schema import metadata
from tests.plugins.postgres import PostgresServer
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


def check(engine: Engine, events: tuple[list[Exposure], list[Outcome]], now: float = NOW) -> None:
    for design in (FIRST, SECOND_RUN):
        found, expected = stored(engine, design, now), oracle.evidence(WORLD, design, *events, now)
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


@given(events=streams(), seed=st.integers(0, 2**32), unit=st.sampled_from(["u1", "u2"]))
@settings(max_examples=30)
def test_a_deleted_unit_is_as_if_it_had_never_been_seen(
    one_engine: Engine, events: Events, seed: int, unit: str
) -> None:
    deliver(empty(one_engine), [*events[0], *events[1]], random.Random(seed))
    delete_unit(one_engine, unit)
    shown = sorted(events[0], key=lambda e: (e.time_us, e.exposure_id))
    left = [e for e in events[0] if e.unit != unit]
    done = [o for o in events[1] if owner(o, shown) != unit]
    check(one_engine, (left, done))
    assert unit not in dump(one_engine)


@given(events=streams(), seed=st.integers(0, 2**32), horizon=st.integers(0, 400))
@settings(max_examples=30)
def test_letting_old_events_go_changes_no_evidence_then_or_later(
    one_engine: Engine, events: Events, seed: int, horizon: int
) -> None:
    """Outcomes that still wait are given up; so the stream has none of them before the horizon, and none that name an
    exposure from before it afterwards."""
    cut = (T0 + horizon) * 1_000_000
    shown, done = sorted(events[0], key=lambda e: (e.time_us, e.exposure_id)), events[1]
    done = [o for o in done if settled(o, shown, cut)]
    every: list[Event] = [*shown, *done]
    early = [event for event in every if event.time_us < cut]
    late = [event for event in every if event.time_us >= cut]
    deliver(empty(one_engine), early, random.Random(seed))
    prune(one_engine, "ranking", cut)
    check(one_engine, ([e for e in shown if e.time_us < cut], [o for o in done if o.time_us < cut]))
    random.Random(seed).shuffle(late)
    for place in range(0, len(late), 3):
        send(one_engine, *late[place : place + 3])
    check(one_engine, (shown, done))
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


def mean(engine: Engine, metric: str) -> float:
    metrics = stored(engine, FIRST, NOW)["metrics"]
    assert isinstance(metrics, list)
    found = next(each for each in metrics if each["metric"] == metric)
    return float(found["strata"][1, 0, "baseline"]["mean"][0])


def owner(event: Outcome, shown: list[Exposure]) -> str | None:
    """The unit that an outcome is of: the one that it names, or that of its exposure."""
    if event.unit is not None:
        return event.unit
    found = oracle.exposure_of(event, shown)
    return None if found is None else found.unit


def settled(event: Outcome, shown: list[Exposure], cut: int) -> bool:
    """Whether an outcome and the exposure that it follows are on the same side of the horizon, or it names none."""
    found = oracle.exposure_of(event, shown)
    early = [e for e in shown if e.time_us < cut]
    if found is None or (event.time_us < cut and oracle.exposure_of(event, early) != found):
        return False
    return (event.exposure_id is None and event.request_id is None) or (found.time_us < cut) == (event.time_us < cut)


def dump(engine: Engine) -> str:
    with reading(engine) as connection:
        return str([connection.execute(select(table)).all() for table in metadata.sorted_tables])
