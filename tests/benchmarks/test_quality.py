"""The quality benchmark's own promises: equal budgets, recipes that stay as they were chosen, paired intervals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

import numpy as np
import pytest

from benchmarks.quality import contenders, recipe, trees
from benchmarks.quality.measure import gap, measure
from benchmarks.quality.recipe import Chosen, NetRecipe, Setting, TreesRecipe, digest_of, read_chosen, write_chosen
from benchmarks.quality.runs import Bench, EncodedLog
from benchmarks.quality.trees import columns_of
from model.errors import UserError
from model.graph.build import build
from model.graph.config import GraphConfig
from model.metrics.auc import auc
from tests.model.graph.logs import DAY, START, interactions, random_log

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


def test_what_a_recipe_does_not_read_is_not_taken_away_from_it() -> None:
    points = [cast("NetRecipe", point) for point in contenders.points_of("mgoe", "a")]
    assert {point.model.inputs.ids for point in points} == {False, True}
    for point in points:
        assert (contenders.MICRO in contenders.ablations_of(point)) == point.model.inputs.ids


@pytest.mark.parametrize("name", ["mmoe", "trees"])
def test_history_rows_are_the_only_change_of_a_history_contender_but_its_batch(name: str) -> None:
    plain = contenders.points_of(name, "b")[0]
    more = contenders.with_history(plain)
    assert more.history_rows
    assert not plain.history_rows
    back = more.model_copy(update={"history_rows": False})
    if isinstance(back, NetRecipe) and isinstance(plain, NetRecipe):
        assert back.training.batch_size == 2 * plain.training.batch_size
        back = back.model_copy(update={"training": plain.training})
    assert back == plain


def test_a_frozen_log_differs_in_the_time_of_its_test_rows_alone(tmp_path: Path) -> None:
    log = EncodedLog(random_log(rows=600), "digest")
    bench = Bench(log, log, tmp_path).frozen()
    test = bench.log.dataset.test
    assert set(test.time.tolist()) == {int(log.dataset.test.time.min())}
    assert test.labels is log.dataset.test.labels
    assert test.user is log.dataset.test.user
    assert bench.log.dataset.train is log.dataset.train
    assert bench.log.digest != log.digest


def test_trees_are_fitted_on_observed_cells_only() -> None:
    dataset = random_log(rows=1200, history=0)
    recipe_ = TreesRecipe(rounds=5, min_child_samples=5)
    unobserved = ~dataset.train.observed
    assert unobserved.any()
    flipped = np.where(unobserved, 1 - dataset.train.labels, dataset.train.labels)
    other = replace(dataset, train=replace(dataset.train, labels=flipped))
    one, two = (trees.fit(each, None, recipe_, seed=0)[2] for each in (dataset, other))
    np.testing.assert_array_equal(one, two)


def test_within_a_users_day_is_not_within_a_user() -> None:
    """Scores that follow the day, as features renewed every day do, order rows between days and not within one."""
    dataset = random_log(rows=4000, days=8)
    later = interactions(
        np.repeat([1, 1, 2, 2], 2),
        np.zeros(8),
        START + DAY * np.array([0, 0, 1, 1, 2, 2, 3, 3]) + np.arange(8),
        np.tile([[1], [0]], (4, 3)),
    )
    days = ((later.time - START) // DAY).astype(np.float32)[:, None]
    right = np.tile(later.labels[:, :1] + 10 * days, (1, 3)).astype(np.float32)
    found = measure(replace(dataset, test=later), [right], 100)
    assert found.within_day == pytest.approx(1.0)
    assert found.mean("gauc")[0] < 1.0


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
