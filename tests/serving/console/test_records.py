"""The console's own tables on both databases: an audit that only grows, and a split with honest gaps."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, update

from model.errors import Fault
from serving.console.audit import Audit, Record, new_attempt
from serving.console.schema import audit
from serving.console.server import prepared
from serving.console.split_record import GAP_S, SplitRecord, Stretch
from serving.evidence.engine import writing


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """The tables in a new database."""
    if request.param == "sqlite":
        return prepared(f"sqlite:///{tmp_path / 'console.db'}")
    return prepared(str(request.getfixturevalue("postgres_database")))


def record(**changes: object) -> Record:
    fields = {
        "attempt": new_attempt(),
        "at": 1.0,
        "who": "ada",
        "role": "steer",
        "client": "::1",
        "rollout": "feed",
        "uid": "uid",
        "run": "run",
        "generation": 3,
        "wish": "abort",
        "change": "spec.abort: false -> true",
        "reason": "it is slow",
    }
    return Record(**{**fields, **changes})  # type: ignore[arg-type]


def test_an_attempt_is_shown_with_what_came_of_it_the_newest_first(engine: Engine) -> None:
    book = Audit(engine, lambda: 2.0)
    first, second = book.add(record()), book.add(record(wish="pause"))
    book.add(record(uid="another rollout"))
    ended = book.came_of(first, "refused", "too late")
    assert [(one.wish, one.result) for one in book.of("uid")] == [("abort", "refused"), ("pause", "asked")]
    assert book.attempt(first.attempt) == ended
    assert book.attempt(second.attempt) == second
    assert book.attempt("never") is None


def test_the_database_itself_refuses_to_change_or_delete_a_record(engine: Engine) -> None:
    book = Audit(engine)
    kept = book.add(record())
    for statement in (update(audit).values(who="nobody"), delete(audit)):
        with pytest.raises(Fault, match="append-only"), writing(engine) as connection:
            connection.execute(statement)
    assert book.of("uid") == (kept,)


def test_tables_that_are_there_already_are_kept(engine: Engine) -> None:
    kept = Audit(engine).add(record())
    again = prepared(engine.url.render_as_string(hide_password=False))
    assert Audit(again).of("uid") == (kept,)


def test_a_split_that_stays_is_one_stretch_and_one_that_changes_is_two(engine: Engine) -> None:
    book = SplitRecord(engine)
    for at, observed in ((0.0, 5), (2.0, 5), (4.0, 20), (6.0, None), (8.0, 20)):
        book.saw("uid", at, 20, observed)
    book.saw("other", 8.0, 50, 50)
    assert book.of("uid") == (
        Stretch(0.0, 4.0, 20, 5),
        Stretch(4.0, 6.0, 20, 20),
        Stretch(6.0, 8.0, 20, None),
        Stretch(8.0, 8.0, 20, 20),
    )


def test_nothing_is_said_about_a_time_in_which_nobody_looked(engine: Engine) -> None:
    book = SplitRecord(engine)
    book.saw("uid", 0.0, 5, 5)
    book.saw("uid", GAP_S + 1, 5, 5)
    assert book.of("uid") == (Stretch(0.0, 0.0, 5, 5), Stretch(GAP_S + 1, GAP_S + 1, 5, 5))


GAPS = st.floats(0.1, 100).map(lambda gap: round(gap, 2))


@settings(max_examples=12)
@given(st.lists(st.tuples(GAPS, st.integers(0, 100), st.none() | st.integers(0, 9)), max_size=8))
def test_stretches_never_overlap_and_hold_every_look(looks: list[tuple[float, int, int | None]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        book, at = SplitRecord(prepared(f"sqlite:///{folder}/console.db")), 0.0
        seen = []
        for gap, wanted, observed in looks:
            at += gap
            book.saw("uid", at, wanted, observed)
            seen.append((at, wanted, observed))
        found = book.of("uid")
    assert all(one.until <= other.since for one, other in itertools.pairwise(found))
    for moment, *split in seen:
        assert any(one.since <= moment <= one.until and [one.wanted, one.observed] == split for one in found)
