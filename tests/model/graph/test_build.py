"""The graph as a whole: against plain Python, in any order, without a look ahead, in any number of shards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.dataset import Dataset, Interactions
from model.errors import UserError
from model.graph.build import build
from model.graph.config import GraphConfig
from model.graph.macro_graph import MacroGraph
from model.graph.memory import Spending, shards_for, spending_for
from tests.model.graph.equality import graph_differences, same_snapshot
from tests.model.graph.literal import expected_log_counts, literal_side, log_counts
from tests.model.graph.logs import DAY, START, interactions, nodes, random_log, schema

SMALL = GraphConfig(user_groups=6, item_groups=5, svd_rank=8, recent=4)
DAILY = SMALL.model_copy(update={"snapshots": "daily"})


def graph_of(dataset: Dataset, config: GraphConfig = SMALL) -> MacroGraph:
    return build(dataset, config, "digest")


@pytest.mark.parametrize("config", [SMALL, DAILY, DAILY.model_copy(update={"beta": 1.0, "rank": "binary"})])
def test_every_snapshot_equals_a_literal_construction(config: GraphConfig) -> None:
    dataset = random_log(rows=900, history=300, n_users=25, n_items=15)
    graph = graph_of(dataset, config)
    for snapshot in graph.snapshots:
        for side, users in ((snapshot.user, True), (snapshot.item, False)):
            literal = literal_side(graph, dataset, snapshot.as_of, users=users)
            assert literal.hop1
            for node in range(len(side.dominant)):
                for hop, counts in ((side.hop1, literal.hop1), (side.hop2, literal.hop2)):
                    found = log_counts(hop.macro[node], hop.log_count[node])
                    assert found == pytest.approx(expected_log_counts(counts.get(node, {})), rel=2e-3)
                recents = literal.recent.get(node, [])
                assert side.recent[node].tolist() == [o for o, _ in recents] + [0] * (4 - len(recents))
                scores = [s for _, s in recents] + [0.0] * (4 - len(recents))
                np.testing.assert_allclose(side.recent_score[node], scores, atol=1e-6)
                assert side.dominant[node].tolist() == literal.dominant.get(node, [0, 0, 0])
                np.testing.assert_allclose(np.expm1(side.log_exposure[node]), literal.exposures.get(node, 0), rtol=1e-5)
                positives = literal.positives.get(node, [0, 0, 0])
                np.testing.assert_allclose(np.expm1(side.log_degree[node]), positives, rtol=1e-5, atol=1e-6)


def test_edges_of_a_node_are_sorted_and_padded_at_the_end() -> None:
    for snapshot in graph_of(random_log()).snapshots:
        for side in (snapshot.user, snapshot.item):
            for hop in (side.hop1, side.hop2):
                assert np.all(np.diff(hop.log_count.astype(np.float64), axis=1) <= 0)
                assert np.array_equal(hop.macro == 0, hop.log_count == 0)
                assert hop.macro.max() <= hop.n_macro


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_rows_changes_nothing(seed: int) -> None:
    dataset, rng = random_log(seed=seed % 3), np.random.default_rng(seed)
    assert dataset.history is not None
    shuffled = replace(
        dataset,
        history=dataset.history.take(rng.permutation(len(dataset.history))),
        train=dataset.train.take(rng.permutation(len(dataset.train))),
    )
    assert graph_differences(graph_of(dataset, DAILY), graph_of(shuffled, DAILY)) == []


def with_other_labels_from(dataset: Dataset, moment: int, rng: np.random.Generator) -> Dataset:
    """Permutes labels among all rows at or after the moment, part by part."""

    def scramble(part: Interactions) -> Interactions:
        rows, after = np.arange(len(part)), np.flatnonzero(part.time >= moment)
        rows[after] = rng.permutation(after)
        return replace(part, labels=part.labels[rows], observed=part.observed[rows])

    train, validate, test = (scramble(part) for part in (dataset.train, dataset.validate, dataset.test))
    return replace(dataset, train=train, validate=validate, test=test)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 5), st.sampled_from(["daily", "single"]))
def test_permuting_labels_at_or_after_a_snapshot_leaves_it_unchanged(seed: int, day: int, snapshots: str) -> None:
    dataset, config = random_log(seed=1), SMALL.model_copy(update={"snapshots": snapshots})
    before = graph_of(dataset, config)
    number = day % len(before.snapshots)
    moment = before.snapshots[number].as_of
    changed = with_other_labels_from(dataset, moment, np.random.default_rng(seed))
    assert not np.array_equal(changed.train.labels, dataset.train.labels) or moment > dataset.train.time.max()
    after = graph_of(changed, config)
    assert np.array_equal(before.user_group, after.user_group)
    assert np.array_equal(before.item_group, after.item_group)
    for earlier in range(number + 1):
        assert same_snapshot(before.snapshots[earlier], after.snapshots[earlier])


def test_labels_before_a_snapshot_do_reach_it() -> None:
    dataset = random_log(seed=1)
    changed = with_other_labels_from(dataset, START, np.random.default_rng(0))
    before, after = graph_of(dataset, DAILY), graph_of(changed, DAILY)
    assert same_snapshot(before.snapshots[0], after.snapshots[0])
    assert not same_snapshot(before.snapshots[1], after.snapshots[1])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_without_history_permuting_labels_of_trainable_rows_leaves_what_they_read_unchanged(seed: int) -> None:
    dataset = random_log(seed=2, history=0)
    before = graph_of(dataset)
    changed = with_other_labels_from(dataset, before.trainable_from, np.random.default_rng(seed))
    after = graph_of(changed)
    assert before.trainable_from == after.trainable_from
    assert same_snapshot(before.snapshots[0], after.snapshots[0])
    assert np.array_equal(before.user_group, after.user_group)


@pytest.mark.parametrize("config", [SMALL, DAILY])
@pytest.mark.parametrize("history", [0, 1500])
def test_no_row_that_may_be_trained_on_reads_a_snapshot_that_holds_it(config: GraphConfig, history: int) -> None:
    dataset = random_log(history=history)
    graph = graph_of(dataset, config)
    moments = np.array([snapshot.as_of for snapshot in graph.snapshots])
    for part in (dataset.train, dataset.validate, dataset.test):
        time = part.time[part.time >= graph.trainable_from]
        assert np.all(moments[graph.snapshot_of(time)] <= time)
    assert (dataset.train.time >= graph.trainable_from).any()


@settings(max_examples=10, deadline=None)
@given(
    st.integers(2, 13),
    st.sampled_from([-1.0, 0.0, 1.0]),
    st.booleans(),
    st.sampled_from(["svd", "folded"]),
    st.integers(1, 3),
)
def test_a_sharded_build_is_the_build_in_memory(
    shards: int, beta: float, daily: bool, features: str, threads: int
) -> None:
    options = {"beta": beta, "task_edges": True, "features": features, "fold_users": 150, "fold_items": 60}
    config = (DAILY if daily else SMALL).model_copy(update=options)
    dataset = random_log(seed=shards, n_users=400, n_items=160)
    whole = graph_of(dataset, config)
    parts = graph_of(dataset, config.model_copy(update={"shards": shards, "threads": threads}))
    assert graph_differences(whole, parts) == []
    assert whole.version == parts.version


@pytest.mark.parametrize("tables", [0, 1, 4])
@pytest.mark.parametrize("shards", [1, 3])
def test_the_second_hop_is_the_same_however_many_of_its_tables_fit_in_full(
    tables: int, shards: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spending(*arguments: Any) -> Spending:
        return replace(spending_for(*arguments), table_bytes=tables * 60 * 7 * 4)

    dataset, config = random_log(seed=4), DAILY.model_copy(update={"shards": shards})
    whole = graph_of(dataset, config)
    monkeypatch.setattr("model.graph.build.spending_for", spending)
    assert graph_differences(whole, graph_of(dataset, config)) == []


def test_a_daily_snapshot_is_what_a_fresh_build_up_to_that_day_gives() -> None:
    dataset = random_log(seed=5)
    assert dataset.history is not None
    daily, single = (graph_of(dataset, c.model_copy(update={"task_edges": True})) for c in (DAILY, SMALL))
    at_validation = next(s for s in daily.snapshots if s.as_of == START + 4 * DAY)
    assert np.array_equal(daily.user_group, single.user_group)
    literal_moment = replace(single.snapshots[1], as_of=at_validation.as_of)
    assert same_snapshot(at_validation, literal_moment)
    assert at_validation.user.task_log_count is not None


def test_a_repeated_build_is_the_same_and_another_seed_is_not() -> None:
    dataset = random_log()
    first, again = graph_of(dataset), graph_of(dataset)
    other = graph_of(dataset, SMALL.model_copy(update={"seed": 1}))
    assert graph_differences(first, again) == []
    assert first.version == again.version != other.version
    assert not np.array_equal(first.user_group, other.user_group)


def test_the_unknown_node_stays_empty_though_rows_name_it() -> None:
    dataset = random_log()
    assert (dataset.train.item == 0).any()
    graph = graph_of(dataset, DAILY.model_copy(update={"task_edges": True}))
    assert graph.user_group[0] == graph.item_group[0] == 0
    for snapshot in graph.snapshots:
        for side in (snapshot.user, snapshot.item):
            for array in (side.hop1.macro, side.hop2.macro, side.dominant, side.recent, side.log_exposure):
                assert not array[0].any()


@pytest.mark.parametrize("features", ["svd", "folded"])
def test_planted_groups_are_found_and_their_edges_are_heavy(features: Literal["svd", "folded"]) -> None:
    rng = np.random.default_rng(0)
    user, block = np.arange(1, 201).repeat(30), (np.arange(200) % 4).repeat(30)
    item = 1 + block * 25 + rng.integers(0, 25, 6000)
    time = START + rng.permutation(6000)
    train = interactions(user, item, time, np.ones((6000, 1)))
    later = interactions([1], [1], [START + DAY], [[1]])
    dataset = Dataset(
        schema(1), nodes(201), nodes(101), interactions(user, item, time * 0, np.ones((6000, 1))), train, later, later
    )
    config = GraphConfig(user_groups=4, item_groups=4, max_group_fraction=1, features=features, fold_users=120)
    graph = graph_of(dataset, config)
    for group, planted in ((graph.user_group[1:], np.arange(200) % 4), (graph.item_group[1:], np.arange(100) // 25)):
        assert len({(int(a), int(b)) for a, b in zip(group, planted, strict=True)}) == 4
    share = np.expm1(graph.snapshots[1].user.hop1.log_count[1:].astype(float))
    assert np.all(share[:, 0] / share.sum(axis=1) == 1.0)


def test_item_groups_may_be_the_categories() -> None:
    dataset = random_log()
    config = SMALL.model_copy(
        update={"item_grouping": "category", "category_feature": "category", "features": "category"}
    )
    graph = graph_of(dataset, config)
    assert np.array_equal(graph.item_group, dataset.items.features.sparse[:, 0])
    assert graph.n_item_groups == graph.snapshots[0].user.hop1.n_macro == 5


def test_cutting_edges_keeps_the_heaviest_ones() -> None:
    dataset = random_log()
    whole, cut = graph_of(dataset), graph_of(dataset, SMALL.model_copy(update={"top_k": 2}))
    hop, short = whole.snapshots[1].user.hop1, cut.snapshots[1].user.hop1
    assert short.macro.shape[1] == 2
    assert np.array_equal(short.macro, hop.macro[:, :2])


@pytest.mark.parametrize("config", [SMALL, DAILY, DAILY.model_copy(update={"beta": -1.0, "rank": "union"})])
def test_task_counts_are_the_distinct_pairs_of_each_tasks_own_graph(config: GraphConfig) -> None:
    dataset = random_log(rows=900, history=300, n_users=25, n_items=15)
    graph = graph_of(dataset, config.model_copy(update={"task_edges": True}))
    repeated = False
    for snapshot in graph.snapshots:
        for side, users in ((snapshot.user, True), (snapshot.item, False)):
            literal = literal_side(graph, dataset, snapshot.as_of, users=users)
            assert side.task_log_count is not None
            for node in range(len(side.dominant)):
                for task in range(3):
                    counts = literal.by_task.get(node, [{}, {}, {}])[task]
                    found = log_counts(side.hop1.macro[node], side.task_log_count[node, :, task])
                    wanted = dict.fromkeys(found, 0.0) | {macro: np.log1p(n) for macro, n in counts.items()}
                    assert found == pytest.approx(wanted, rel=1e-3)
                    repeated |= sum(counts.values()) < literal.positives.get(node, [0, 0, 0])[task]
            assert not side.task_log_count[side.hop1.macro == 0].any()
    assert repeated, "no pair repeats a task, so rows of the log would have passed too"


def test_the_dominant_macro_node_is_the_largest_of_the_tasks_counts() -> None:
    graph = graph_of(random_log(), DAILY.model_copy(update={"task_edges": True}))
    for snapshot in graph.snapshots:
        for side in (snapshot.user, snapshot.item):
            assert side.task_log_count is not None
            at_dominant = side.hop1.macro[:, :, None] == side.dominant[:, None, :]
            largest = side.task_log_count.max(axis=1)
            assert np.array_equal(np.where(at_dominant, side.task_log_count, 0).max(axis=1), largest)
            assert np.array_equal(side.dominant > 0, largest > 0)


def test_a_log_too_large_for_the_memory_is_cut_into_more_shards() -> None:
    config = GraphConfig(memory_mb=64, shards=3)
    assert shards_for(1000, 1, config) == 3
    assert shards_for(10_000_000, 1, config) == 39
    assert shards_for(10_000_000, 30, config) == 108
    with pytest.raises(UserError, match=r"memory_mb=64: 100,000,000,000 rows and 1 snapshot\(s\) need at least 5961"):
        shards_for(100_000_000_000, 1, config)
    assert shards_for(100_000_000_000, 1, GraphConfig(memory_mb=5961)) <= 4096


def test_options_that_do_not_fit_the_log_are_one_line() -> None:
    dataset = random_log()
    with pytest.raises(UserError, match="needs the name of a sparse item feature"):
        graph_of(dataset, SMALL.model_copy(update={"item_grouping": "category"}))
    with pytest.raises(UserError, match="'colour' is no sparse item feature of the log \\(known: category\\)"):
        graph_of(dataset, SMALL.model_copy(update={"features": "category", "category_feature": "colour"}))
    with pytest.raises(UserError, match="no training rows"):
        graph_of(replace(dataset, train=dataset.train.take(slice(0))))
