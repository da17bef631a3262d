import dataclasses
from typing import Literal

import numpy as np
import pytest

from model.errors import UserError
from model.evaluation.comparison import ALL, MEAN, Arm, Comparison
from model.evaluation.config import EvaluationConfig
from model.evaluation.measurement import measure
from model.evaluation.pairing import check_same_rows, differences
from model.evaluation.predictions import Predictions
from model.evaluation.slices import names_in
from model.evaluation.verdict import uncertain, verdict
from model.metrics.auc import auc
from model.training.curve import Evaluation, TrainingReport

CONFIG = EvaluationConfig(replicates=200, bins=5)


def _predictions(noise: float, rows: int = 1500, users: int = 200) -> Predictions:
    """Two tasks; the more noise, the worse the scores. Labels and rows do not depend on it."""
    random = np.random.default_rng(0)
    user = random.integers(1, users, rows).astype(np.int32)
    signal = random.normal(size=(rows, 2))
    labels = (signal + random.logistic(size=(rows, 2)) > 0.5).astype(np.uint8)
    scores = 1 / (1 + np.exp(0.5 - signal - noise * random.normal(size=(rows, 2))))
    return Predictions(
        tasks=("click", "like"),
        user=user,
        item=random.integers(1, 50, rows).astype(np.int32),
        time=np.arange(rows, dtype=np.int64),
        labels=labels,
        observed=random.random((rows, 2)) < 0.9,
        scores=scores.astype(np.float32),
        slices={"users": np.where(user < 20, "users:cold", "users:warm")},
    )


def _comparison(baseline: Predictions, candidate: Predictions) -> Comparison:
    arms = [Arm(name=name, model_digest=name, evaluation_digest=name) for name in ("plain", "graph")]
    return Comparison(
        baseline=arms[0],
        candidate=arms[1],
        log_digest="log",
        tasks=baseline.tasks,
        slices=tuple(names_in(baseline.slices)),
        rows=len(baseline),
        users=200,
        level=CONFIG.level,
        replicates=CONFIG.replicates,
        seed=CONFIG.seed,
        differences=tuple(differences(baseline, candidate, CONFIG)),
    )


def test_cells_that_are_not_observed_count_in_no_metric() -> None:
    side = _predictions(0.0)
    hidden = np.where(side.observed, side.scores, 1 - side.scores).astype(np.float32)
    assert measure(side, CONFIG) == measure(dataclasses.replace(side, scores=hidden), CONFIG)


def test_values_are_those_of_the_slice_and_the_task() -> None:
    side = _predictions(0.5)
    kept = (side.slices["users"] == "users:cold") & side.observed[:, 1]
    wanted = [("auc", "like", "users:cold", "bootstrap"), ("auc", "like", "users:cold", "delong")]
    found = [e for e in measure(side, CONFIG) if (e.metric, e.task, e.slice, e.method) in wanted]
    assert [entry.value for entry in found] == pytest.approx([auc(side.labels[kept, 1], side.scores[kept, 1])] * 2)
    assert {entry.n for entry in found} == {int(kept.sum())}


def test_the_better_model_is_found_better_and_the_mean_is_the_mean_of_the_tasks() -> None:
    comparison = _comparison(_predictions(2.0), _predictions(0.0))
    tasks = [comparison.find("auc", task).difference for task in comparison.tasks]
    assert comparison.find("auc").difference == pytest.approx(np.mean(np.array(tasks, dtype=np.float64)))
    assert comparison.find("auc").outcome == "better"
    assert comparison.find("log_loss").outcome == "better"
    assert verdict(comparison).startswith("graph ranks better than plain: mean AUC")


def test_swapping_the_sides_mirrors_every_difference() -> None:
    forth, back = _comparison(_predictions(1.0), _predictions(0.2)), _comparison(_predictions(0.2), _predictions(1.0))
    for one, other in zip(forth.differences, back.differences, strict=True):
        assert (one.difference, one.lower) == pytest.approx((-other.difference, -other.upper))  # type: ignore[operator]


def test_a_model_against_itself_cannot_be_told_apart() -> None:
    side = _predictions(0.3)
    comparison = _comparison(side, side)
    assert {entry.difference for entry in comparison.differences} == {0.0}
    assert "cannot be told apart" in verdict(comparison)


def test_pairing_makes_the_interval_of_like_models_narrow() -> None:
    first, second = _predictions(0.30), _predictions(0.31)
    found = _comparison(first, second).find("auc")
    alone = next(e for e in measure(first, CONFIG) if (e.metric, e.task, e.slice) == ("auc", MEAN, ALL))
    assert alone.upper is not None
    assert alone.lower is not None
    assert found.upper is not None
    assert found.lower is not None
    assert found.upper - found.lower < 0.2 * (alone.upper - alone.lower)


def test_bootstrap_and_delong_find_the_same_difference() -> None:
    comparison = _comparison(_predictions(1.0), _predictions(0.2))
    bootstrap, delong = comparison.find("auc", "like"), comparison.find("auc", "like", method="delong")
    assert bootstrap.difference == pytest.approx(delong.difference)


def _training(stopped: Literal["epochs", "patience"], *mean_auc: float) -> TrainingReport:
    points = [
        Evaluation(
            step=step,
            epoch=step,
            train_loss=1.0,
            auc={},
            mean_auc=value,
            log_loss=1.0,
            rows_per_second=1.0,
            seconds=1.0,
            learning_rate=0.1,
        )
        for step, value in enumerate(mean_auc)
    ]
    return TrainingReport(
        curve=tuple(points),
        stopped=stopped,
        steps=len(points),
        steps_per_epoch=1,
        best_step=0,
        metric="mean_auc",
        train_rows=9,
        validation_rows=9,
        parameters=1,
        wall_seconds=1.0,
    )


def test_a_model_whose_epochs_ended_while_it_improved_is_named_and_no_other() -> None:
    comparison = _comparison(_predictions(1.0), _predictions(0.2))
    trainings = {
        "rising": _training("epochs", 0.6, 0.7, 0.8),
        "settled": _training("epochs", 0.6, 0.8, 0.7),
        "patient": _training("patience", 0.6, 0.7, 0.8),
        "single": _training("epochs", 0.6),
    }
    notes = [note for note in uncertain(comparison, trainings) if "still improving" in note]
    assert [note.partition(" ")[0] for note in notes] == ["rising"]


def test_a_slice_without_positives_is_left_undefined_and_said_so() -> None:
    side = _predictions(0.0)
    labels = side.labels.copy()
    labels[side.slices["users"] == "users:cold", 1] = 0
    side = dataclasses.replace(side, labels=labels)
    comparison = _comparison(side, side)
    assert comparison.find("auc", "like", "users:cold").difference is None
    assert comparison.find("auc", MEAN, "users:cold").outcome == "unknown"
    assert any("users:cold" in note for note in uncertain(comparison, {}))


@pytest.mark.parametrize("column", ["user", "item", "time", "labels", "observed"])
def test_sides_on_other_rows_are_refused_by_the_name_of_the_column(column: str) -> None:
    side = _predictions(0.0)
    changed = getattr(side, column).copy()
    changed[0] = ~changed[0] if column == "observed" else changed[0] + 1
    with pytest.raises(UserError, match=f"{column!r} differs"):
        check_same_rows(side, dataclasses.replace(side, **{column: changed}))


def test_a_difference_that_is_not_there_is_refused_with_what_is() -> None:
    side = _predictions(0.0)
    with pytest.raises(UserError, match="tasks: click, like, mean; slices: all, users:cold, users:warm"):
        _comparison(side, side).find("auc", "buy")
