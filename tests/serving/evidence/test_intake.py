from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete

from serving.evidence.engine import open_engine, writing
from serving.evidence.event import Event, Exposure, Outcome
from serving.evidence.migration import migrate
from serving.evidence.schema import metadata
from tests.serving.evidence import evidence_oracle as oracle
from tests.serving.evidence.evidence_world import (
    FIRST,
    SECOND_RUN,
    T0,
    WORLD,
    begin,
    give_covariates,
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


@pytest.fixture(scope="module")
def sqlite_engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('evidence') / 'evidence.db'}")
    migrate(engine)
    return engine


@given(events=streams(), seed=st.integers(0, 2**32))
@settings(max_examples=100)
def test_any_order_and_repetition_of_events_gives_what_a_recomputation_gives(
    sqlite_engine: Engine, events: tuple[list[Exposure], list[Outcome]], seed: int
) -> None:
    deliver(empty(sqlite_engine), [*events[0], *events[1]], random.Random(seed))
    check(sqlite_engine, events)
