"""Gradient-boosted trees, one booster a task, on the columns that the nets read. Legend: N rows, X columns, T tasks."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from benchmarks.quality.recipe import TreesRecipe
from model.data.dataset import Dataset, Interactions
from model.graph.macro_graph import MacroGraph, Side
from model.metrics.auc import auc

Floats = npt.NDArray[np.float32]


def fit(
    dataset: Dataset, graph: MacroGraph | None, recipe: TreesRecipe, seed: int
) -> tuple[dict[str, float], float, Floats]:
    """Validation AUC per task, rounds of the first task, and test scores [N, T]. Stops early on validation rows."""
    train, validate, test = (
        columns_of(dataset, graph, rows, recipe.history_rates)
        for rows in (dataset.train, dataset.validate, dataset.test)
    )
    found: dict[str, float] = {}
    rounds: list[int] = []
    scores = np.empty((len(test), len(dataset.schema.task_names)), np.float32)
    for column, task in enumerate(dataset.schema.task_names):
        known, held_out = dataset.train.observed[:, column], dataset.validate.labels[:, column]
        booster = lgb.train(
            _options(recipe, seed),
            lgb.Dataset(train[known], dataset.train.labels[known, column]),
            recipe.rounds,
            valid_sets=[lgb.Dataset(validate, held_out)],
            callbacks=[lgb.early_stopping(recipe.patience, verbose=False)],
        )
        found[task] = auc(held_out, np.asarray(booster.predict(validate)))
        scores[:, column] = booster.predict(test)
        rounds.append(booster.best_iteration)
    return found, float(rounds[0]), scores


def _options(recipe: TreesRecipe, seed: int) -> dict[str, object]:
    own = recipe.model_dump(include={"num_leaves", "learning_rate", "min_child_samples", "feature_fraction", "max_bin"})
    return own | {
        "objective": "binary",
        "metric": "auc",
        "lambda_l2": recipe.lambda_l2,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "seed": seed,
        "num_threads": 1,
        "verbose": -1,
    }


def columns_of(dataset: Dataset, graph: MacroGraph | None, rows: Interactions, history_rates: bool) -> Floats:
    """[N, X]: codes and numbers of user, item and context, the first value of multi-valued features, dense history
    where asked for, and with a graph its log-degrees, log-exposures and neighbour means."""
    users, items = dataset.users.features, dataset.items.features
    parts: list[npt.NDArray[np.generic]] = [rows.context.sparse, rows.context.dense]
    for features, index in ((users, rows.user), (items, rows.item)):
        parts += [features.sparse[index], features.dense[index], *(values[index, :1] for values in features.multi)]
    if history_rates and dataset.rates is not None:
        moment = np.maximum(np.searchsorted(dataset.rates.as_of, rows.time, side="right") - 1, 0)
        parts += [dataset.rates.user[moment, rows.user], dataset.rates.item[moment, rows.item]]
    if graph is not None:
        snapshot = graph.snapshot_of(rows.time)
        for sides, index in (
            ([moment.user for moment in graph.snapshots], rows.user),
            ([moment.item for moment in graph.snapshots], rows.item),
        ):
            parts.append(np.stack([_numbers(side) for side in sides])[snapshot, index])
    return np.concatenate(parts, axis=1).astype(np.float32)


def _numbers(side: Side) -> Floats:
    parts = [side.log_degree, side.log_exposure[:, None]]
    return np.concatenate(parts if side.neighbour_mean is None else [*parts, side.neighbour_mean], axis=1)
