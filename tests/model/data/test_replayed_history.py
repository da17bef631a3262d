"""History rows that are trained on stand on days of their own, and nothing that they read holds their labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from model.data.commands import app
from model.data.dataset import Dataset
from model.data.ingest import assemble, ingest
from model.data.rates import history_rates
from model.data.replayed_history import REPLAYED_WHOLE, replay_history
from model.data.schema import HistoryReplay
from model.graph.build import build
from model.graph.config import GraphConfig
from model.graph.run import build_graph
from tests.model.data.raw_logs import START, schema, schema_content, write
from tests.model.graph.logs import DAY, interactions

GRAPH = GraphConfig(user_groups=3, item_groups=3, svd_rank=3, snapshots="daily", neighbour_means=True)


def replaying(days: int, rows_a_day: int) -> dict[str, Any]:
    content = schema_content()
    content["history"]["replay"] = {"days": days, "rows_a_day": rows_a_day}
    return content


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Dataset]:
    """The toy log as it is, and with two days of two history rows each."""
    place = write(tmp_path_factory.mktemp("raw"))
    return assemble(place, schema())[0], assemble(place, schema(**replaying(2, 2)))[0]


def test_the_last_rows_of_every_user_are_trained_on_before_the_labelled_ones(pair: tuple[Dataset, Dataset]) -> None:
    plain, replayed = pair
    assert plain.history is not None
    assert replayed.history is not None
    moved = len(plain.history) - len(replayed.history)
    assert len(replayed.train) == len(plain.train) + moved
    assert (np.diff(replayed.train.time) >= 0).all()
    assert replayed.history.time.max() < replayed.train.time.min()
    noon = START - DAY // 2
    assert set(replayed.train.time[:moved].tolist()) == {noon - DAY, noon}
    for user in np.unique(plain.history.user):
        before = plain.history.item[plain.history.user == user]
        rows = replayed.train.take(slice(moved)).user == user
        kept = replayed.history.item[replayed.history.user == user]
        np.testing.assert_array_equal(np.concatenate([kept, replayed.train.item[:moved][rows]]), before)
        assert rows.sum() == min(4, len(before))


def test_labels_that_the_history_lacks_stay_unobserved_and_the_labelled_rows_stay_as_they_are(
    pair: tuple[Dataset, Dataset],
) -> None:
    plain, replayed = pair
    moved = len(replayed.train) - len(plain.train)
    assert replayed.train.observed[:moved].all(axis=0).tolist() == [True, False]
    np.testing.assert_array_equal(replayed.train.labels[moved:], plain.train.labels)
    np.testing.assert_array_equal(replayed.train.time[moved:], plain.train.time)
    np.testing.assert_array_equal(replayed.users.seen, plain.users.seen)
    assert replayed.train.request is not None
    assert plain.train.request is not None
    np.testing.assert_array_equal(replayed.train.request[moved:], plain.train.request)
    assert len(np.unique(replayed.train.request[:moved])) == moved


def test_what_labelled_rows_read_of_the_rates_is_the_same_with_and_without(pair: tuple[Dataset, Dataset]) -> None:
    plain, replayed = (dataset.rates for dataset in pair)
    assert plain is not None
    assert replayed is not None
    shared = np.isin(replayed.as_of, plain.as_of)
    assert shared.sum() == len(plain.as_of)
    np.testing.assert_allclose(replayed.user[shared], plain.user, atol=1e-6)
    np.testing.assert_allclose(replayed.item[shared], plain.item, atol=1e-6)


def test_labels_of_a_day_and_later_change_nothing_that_the_rows_of_that_day_read(
    pair: tuple[Dataset, Dataset],
) -> None:
    """mgoe.md 9.6 for replayed rows: rates, macro edges, degrees, neighbour means and the grouping."""
    dataset = pair[1]
    for noon in np.unique(dataset.train.time[dataset.train.time < START]):
        late = dataset.train.time >= noon
        labels = np.where(late[:, None], 1 - dataset.train.labels, dataset.train.labels)
        other = replace(dataset, train=replace(dataset.train, labels=labels))
        graphs = [build(each, GRAPH, "digest") for each in (dataset, other)]
        assert graphs[0].trainable_from <= noon
        place = int(graphs[0].snapshot_of(np.array([noon]))[0])
        for side in ("user", "item"):
            np.testing.assert_array_equal(*(getattr(graph, f"{side}_group") for graph in graphs))
            one, two = (getattr(graph.snapshots[place], side) for graph in graphs)
            for name in ("dominant", "recent", "recent_score", "log_degree", "log_exposure", "neighbour_mean"):
                np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
            for hop in ("hop1", "hop2"):
                np.testing.assert_array_equal(getattr(one, hop).macro, getattr(two, hop).macro)
                np.testing.assert_array_equal(getattr(one, hop).log_count, getattr(two, hop).log_count)
        assert dataset.rates is not None
        moment = np.searchsorted(dataset.rates.as_of, noon, side="right") - 1
        parts = [part for part in (other.history, other.train, other.validate, other.test) if part is not None]
        again = history_rates(
            parts, dataset.rates.as_of, len(dataset.users), len(dataset.items), tasks=dataset.schema.task_names
        )
        np.testing.assert_array_equal(again.user[moment], dataset.rates.user[moment])
        np.testing.assert_array_equal(again.item[moment], dataset.rates.item[moment])


@settings(max_examples=30)
@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    days=st.integers(1, 4),
    rows_a_day=st.integers(1, 5),
)
def test_no_row_is_lost_and_a_day_holds_at_most_its_rows_of_a_user(
    counts: list[int], days: int, rows_a_day: int
) -> None:
    user = np.repeat(np.arange(1, len(counts) + 1), counts)
    history = interactions(user, np.arange(len(user)), np.full(len(user), START - 1), np.zeros((len(user), 1)))
    train = interactions([1], [0], [START + 5], [[1]])
    kept, trained = replay_history(history, train, HistoryReplay(days=days, rows_a_day=rows_a_day), "Asia/Shanghai")
    assert sorted([*kept.item, *trained.item[:-1]]) == list(range(len(user)))
    assert len(kept) == sum(max(0, count - days * rows_a_day) for count in counts)
    _, sizes = np.unique(np.stack([trained.user[:-1], trained.time[:-1]]), axis=1, return_counts=True)
    assert sizes.max(initial=0) <= rows_a_day


def test_a_history_with_times_is_not_replayed(tmp_path: Path) -> None:
    content = replaying(1, 1)
    content["history"]["time"] = {"column": "time"}
    with pytest.raises(ValueError, match="belong among the interactions"):
        schema(**content)


def test_a_history_that_is_replayed_whole_is_said_in_the_facts_and_by_the_commands(tmp_path: Path) -> None:
    log = tmp_path / "raw"
    write(log, replaying(2, 10_000))
    notices = [str(ingest(str(log), tmp_path / "log").facts.get("notice", ""))]
    notices.append(str(build_graph(tmp_path / "log", tmp_path / "graph", GRAPH).facts.get("notice", "")))
    assert notices == [REPLAYED_WHOLE] * 2
    said = CliRunner(env={"COLUMNS": "400"}).invoke(app, ["ingest", str(log), "--out", str(tmp_path / "again")])
    assert "no history is left before the training rows" in said.output
    write(tmp_path / "some", replaying(1, 1))
    assert "notice" not in ingest(str(tmp_path / "some"), tmp_path / "kept").facts
