"""Visits, drawn by seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from model.data.artifact import read_encoders
from model.data.dataset import Dataset
from serving.traffic.click_model import ClickModel, ClickModelConfig
from serving.traffic.logged_context import LoggedContext
from serving.traffic.sessions import Sessions, sessions_of, shown
from serving.traffic.visits import Pick, Visits

EXTRAS = 4


@pytest.fixture(scope="module")
def sessions(dataset: Dataset) -> Sessions:
    return sessions_of(dataset, 10)


@pytest.fixture(scope="module")
def context(log: Path) -> LoggedContext:
    return LoggedContext(read_encoders(log))


def visits(
    sessions: Sessions, context: LoggedContext, seed: int = 0, pick: Pick = "drawn", extras: int = EXTRAS
) -> Visits:
    model = ClickModel(ClickModelConfig(), sessions.share_T, (None, 0, 1))
    return Visits(sessions, model, context, seed=seed, extras=extras, pick=pick)


def test_the_same_seed_gives_the_same_visits_in_any_order_of_asking(sessions: Sessions, context: LoggedContext) -> None:
    first, again, other = (visits(sessions, context, seed) for seed in (5, 5, 6))
    forth = [first.visit(number) for number in range(20)]
    back = [again.visit(number) for number in reversed(range(20))][::-1]
    assert [(each.unit, each.items, each.time) for each in forth] == [
        (each.unit, each.items, each.time) for each in back
    ]
    assert all(np.array_equal(a.attraction_NT, b.attraction_NT) for a, b in zip(forth, back, strict=True))
    assert [each.items for each in forth] != [other.visit(number).items for number in range(20)]
    assert first.feedback_rng(3).random() == again.feedback_rng(3).random() != first.feedback_rng(4).random()


def test_candidates_are_what_the_user_was_shown_and_extras_that_the_user_was_not(
    sessions: Sessions, context: LoggedContext, dataset: Dataset
) -> None:
    made = visits(sessions, context, pick="logged")
    for number in range(40):
        visit, logged = made.visit(number), shown(sessions, number)
        own = {str(dataset.items.ids[key]) for key in logged.key_n if key > 0}
        of_user = dataset.test.item[dataset.test.user == sessions.user_S[number]]
        ever = {str(raw) for raw in dataset.items.ids[of_user[of_user > 0]]}
        assert visit.unit == sessions.unit_S[number]
        assert own <= set(visit.items)
        nameless = [item for item in visit.items if item.startswith("item-of-no-log")]
        assert len(nameless) == (logged.key_n < 0).sum()
        extras = set(visit.items) - own - set(nameless)
        assert len(extras) == EXTRAS
        assert not extras & ever
        assert len(set(visit.items)) == len(visit.items) == len(visit.attraction_NT)


def test_no_place_tells_a_label(sessions: Sessions, context: LoggedContext) -> None:
    made = visits(sessions, context)
    found = [made.visit(number).attraction_NT[:, 0] for number in range(3000)]
    first = np.mean([each[0] for each in found])
    last = np.mean([each[-1] for each in found])
    assert first == pytest.approx(last, rel=0.1)


def test_users_come_in_proportion_to_their_logged_activity(sessions: Sessions, context: LoggedContext) -> None:
    made, draws = visits(sessions, context, extras=0), 4000
    came = Counter(made.visit(number).unit for number in range(draws))
    rows = Counter[str]()
    for unit, count in zip(sessions.unit_S, sessions.rows_per_session.tolist(), strict=True):
        rows[unit] += count
    total = rows.total()
    chi = sum((came[unit] - draws * count / total) ** 2 / (draws * count / total) for unit, count in rows.items())
    assert chi < len(rows) + 5 * np.sqrt(2 * len(rows))


def test_a_context_that_is_sent_encodes_to_what_the_log_holds(dataset: Dataset, log: Path) -> None:
    import polars as pl

    encoders = read_encoders(log)
    reader = LoggedContext(encoders)
    columns = {feature.name: feature.column for feature in dataset.schema.features_of("context")}
    for place in range(30):
        row = dataset.test.context.take(slice(place, place + 1))
        sent = {columns[name]: [value] for name, value in reader.of(row).items()}
        again = encoders.columns("context", pl.DataFrame(sent), dataset.test.time[place : place + 1])
        assert np.array_equal(again.sparse, row.sparse)
        assert again.dense == pytest.approx(row.dense, abs=1e-5)
        assert all(np.array_equal(a, b) for a, b in zip(again.multi, row.multi, strict=True))
