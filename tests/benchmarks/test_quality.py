"""The quality benchmark's own promises: equal budgets, recipes that stay as they were chosen, paired intervals."""

from __future__ import annotations

from pathlib import Path
from typing import cast, get_args

import numpy as np
import pytest

from benchmarks.quality import contenders, recipe
from benchmarks.quality.measure import gap, measure
from benchmarks.quality.recipe import Chosen, NetRecipe, Setting, digest_of, read_chosen, write_chosen
from benchmarks.quality.trees import columns_of
from model.errors import UserError
from model.graph.build import build
from model.graph.config import GraphConfig
from model.metrics.auc import auc
from tests.model.graph.logs import random_log

SETTINGS = get_args(Setting)


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_net_is_tried_on_the_same_points(setting: Setting) -> None:
    tried = {
        name: [cast("NetRecipe", one).training for one in contenders.points_of(name, setting)]
        for name in contenders.NETS
    }
    assert all(points == tried["mmoe"] for points in tried.values())
    assert len(contenders.points_of(contenders.TREES, setting)) >= len(tried["mmoe"])


@pytest.mark.parametrize("setting", SETTINGS)
def test_dense_history_is_for_all_or_for_none(setting: Setting) -> None:
    for name in contenders.searched():
        for point in contenders.points_of(name, setting):
            history = point.training.history_rates if isinstance(point, NetRecipe) else point.history_rates
            assert history == (setting == "b")


def test_only_graph_architectures_and_columns_read_the_graph() -> None:
    for name in contenders.searched():
        for point in contenders.points_of(name, "b"):
            assert (point.graph is not None) == (name in ("macgnn", "mgoe"))
            assert contenders.with_columns(point).graph is not None


def test_an_ablation_changes_one_part_and_nothing_else() -> None:
    whole = cast("NetRecipe", contenders.points_of("mgoe", "b")[0])
    digests = {digest_of(contenders.ablated(whole, change), 0, "log") for change in contenders.ABLATIONS.values()}
    assert len(digests) == len(contenders.ABLATIONS)
    assert digest_of(whole, 0, "log") not in digests
    no_gate = contenders.ablated(whole, {"model": {"gate": "mean"}})
    assert no_gate.graph == whole.graph
    assert no_gate.model.inputs == whole.model.inputs


@pytest.mark.parametrize("name", ["mgoe", "trees"])
def test_a_choice_reads_as_it_was_written(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "FOLDER", tmp_path)
    point = contenders.points_of(name, "b")[1]
    chosen = Chosen(contender=name, setting="b", validation=0.75, trials=4, seeds=1, recipe=point)
    write_chosen(chosen)
    assert read_chosen("b", name) == chosen
    with pytest.raises(UserError, match="run the search first"):
        read_chosen("a", name)


def test_every_committed_recipe_is_a_point_of_its_search() -> None:
    for path in recipe.FOLDER.glob("*/*.yaml"):
        chosen = read_chosen(cast("Setting", path.parent.name), path.stem)
        assert chosen.recipe in contenders.points_of(chosen.contender, chosen.setting)


def test_trees_see_no_graph_columns_unless_given_a_graph() -> None:
    dataset = random_log(rows=600, history=200)
    graph = build(dataset, GraphConfig(user_groups=4, item_groups=4, svd_rank=4, neighbour_means=True), "digest")
    plain = columns_of(dataset, None, dataset.test, history_rates=False)
    wide = columns_of(dataset, graph, dataset.test, history_rates=False)
    tasks = len(dataset.schema.task_names)
    assert wide.shape[1] - plain.shape[1] == 2 * ((tasks + 1) + 2 * (tasks + 1))
    np.testing.assert_array_equal(wide[:, : plain.shape[1]], plain)


def test_measures_are_those_of_the_metrics_and_gaps_are_paired() -> None:
    dataset, rng = random_log(), np.random.default_rng(0)
    labels = dataset.test.labels
    noise = rng.normal(size=labels.shape)
    good, poor = ((labels + factor * noise).astype(np.float32) for factor in (0.5, 3.0))
    better, worse = measure(dataset, [good, good], 100), measure(dataset, [poor], 100)
    assert better.mean("auc")[0] == pytest.approx(auc(labels[:, 0], good[:, 0]))
    assert better.overall("auc")[1] == pytest.approx(0)
    assert gap(worse, better).lower > 0
    assert (gap(better, better).lower, gap(better, better).upper) == (0, 0)
