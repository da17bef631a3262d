"""Neighbour means: against plain Python, in shards, without a look ahead, and absent where not asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.graph.build import build
from model.graph.config import GraphConfig
from tests.model.graph.equality import differences, graph_differences
from tests.model.graph.literal import literal_means
from tests.model.graph.logs import random_log

CONFIG = GraphConfig(user_groups=6, item_groups=5, svd_rank=8, snapshots="daily", neighbour_means=True)


def test_means_of_every_node_equal_the_literal_definition() -> None:
    dataset = random_log(rows=600, history=200, n_users=15, n_items=12)
    graph = build(dataset, CONFIG, "digest")
    for snapshot in graph.snapshots[1:4]:
        for side, users in ((snapshot.user, True), (snapshot.item, False)):
            assert side.neighbour_mean is not None
            for node in range(1, len(side.neighbour_mean)):
                expected = literal_means(graph, dataset, snapshot.as_of, node, users=users)
                np.testing.assert_allclose(side.neighbour_mean[node], expected, atol=1e-5)


@pytest.mark.parametrize("shards", [3, 20])
def test_any_number_of_shards_gives_the_same_means(shards: int) -> None:
    dataset = random_log(rows=400, n_users=15, n_items=12)  # of 20 shards some hold no node
    whole = build(dataset, CONFIG, "digest")
    sharded = build(dataset, CONFIG.model_copy(update={"shards": shards}), "digest")
    assert graph_differences(whole, sharded) == []


@pytest.mark.parametrize("number", [0, 2])
def test_labels_after_a_snapshot_do_not_reach_its_means(number: int) -> None:
    dataset = random_log(seed=1)
    before = build(dataset, CONFIG, "digest").snapshots[number]
    later = dataset.train.time >= before.as_of
    flipped = np.where(later[:, None], 1 - dataset.train.labels, dataset.train.labels).astype(np.uint8)
    after = build(replace(dataset, train=replace(dataset.train, labels=flipped)), CONFIG, "digest").snapshots[number]
    assert before.user.neighbour_mean is not None
    assert differences(before.user.neighbour_mean, after.user.neighbour_mean) == []
    assert differences(before.item.neighbour_mean, after.item.neighbour_mean) == []


def test_a_node_without_impressions_has_the_mean_of_an_average_neighbour() -> None:
    side = build(random_log(), CONFIG, "digest").snapshots[0].user
    assert side.neighbour_mean is not None
    assert np.all(side.neighbour_mean[side.log_exposure == 0] == 0)
    assert np.any(side.neighbour_mean != 0)


def test_a_graph_keeps_no_means_unless_asked() -> None:
    graph = build(random_log(), CONFIG.model_copy(update={"neighbour_means": False}), "digest")
    assert graph.snapshots[0].user.neighbour_mean is None
