"""Who competes, and the recipes that a search tries on each: the same budget for all.

Every net is tried on the same points of a setting (POINTS), every tree model on as many of its own. What a setting
allows is fixed here, not searched: plain fields in (a), dense history in (b). Only MacGNN and MGOE read the macro
graph; `*_columns` contenders are given the graph's numeric columns (log-degrees and neighbour means) without its
architecture, to tell what the information does from what the architecture does; `*_history` contenders train on
the last rows of every user's history too.
"""

from __future__ import annotations

from typing import Any

from benchmarks.quality.recipe import NetRecipe, Setting, TreesRecipe
from model.data.schema import HistoryReplay
from model.graph.config import GraphConfig
from model.nets.config import MODEL_CONFIG
from model.training.config import TrainingConfig

Mapping = dict[str, Any]

NETS: dict[str, Mapping] = {
    "shared_bottom": {"architecture": "shared_bottom", "bottom": (128, 64)},
    "mmoe": {"architecture": "mmoe"},
    "ple": {"architecture": "ple", "levels": 1},
    "aitm": {"architecture": "aitm", "calibrator": 0.0},
    "esmm": {"architecture": "esmm"},
    "macgnn": {"architecture": "macgnn", "activation": "relu", "widths": (128, 64)},
    "mgoe": {"architecture": "mgoe", "task_emb": "macro", "activation": "relu", "fusion_dim": 64, "tower_dim": 32},
}
"""Options apart from the searched ones. AITM's calibrator is off: profile_enter does not imply like."""

TREES = "trees"
COLUMNS = {"mmoe_columns": "mmoe", "trees_columns": TREES}
"""Contenders with the graph's numeric columns, and whose recipe they take: they are not searched."""

HISTORY = {f"{name}_history": name for name in ("mmoe", "mmoe_columns", "mgoe", TREES)}
"""Contenders that train on history rows too, and what they are without: they are not searched either."""
REPLAY = HistoryReplay(days=2, rows_a_day=10)
"""Which rows these are: four times as many as without, so nets take steps of twice the rows."""

FROZEN: dict[Setting, dict[str, str]] = {
    "a": {"mgoe_frozen": "mgoe"},
    "b": {"mmoe_frozen": "mmoe", "mgoe_frozen": "mgoe"},
}
"""Contenders whose test rows all read what was known when the test days began: what renewing it every day does."""

GRAPH = GraphConfig(snapshots="daily", neighbour_means=True)
_OF_GRAPH = {"degrees": True, "neighbour_means": True}

_COMMON = {"standardise": True, "numeric": "ramps", "numeric_dim": 6}
_NO_IDS = _COMMON | {"ids": False}

POINTS: dict[Setting, tuple[Mapping, ...]] = {
    "a": (
        {"inputs": _COMMON | {"id_dim": 16}, "dropout": 0.1, "learning_rate": 5e-3, "epochs": 3},
        {"inputs": _COMMON | {"id_dim": 16, "id_dropout": 0.3}, "dropout": 0.1, "learning_rate": 2e-3, "epochs": 3},
        {"inputs": _NO_IDS, "dropout": 0.1, "learning_rate": 2e-3, "epochs": 2},
        {"inputs": _NO_IDS, "dropout": 0.3, "learning_rate": 2e-3, "epochs": 3},
    ),
    "b": (
        {"inputs": _NO_IDS, "dropout": 0.3, "learning_rate": 2e-3, "epochs": 2},
        {"inputs": _NO_IDS | {"numeric_dim": 12}, "dropout": 0.1, "learning_rate": 2e-3, "epochs": 2},
        {
            "inputs": _COMMON | {"id_dim": 8, "id_dropout": 0.5},
            "dropout": 0.3,
            "learning_rate": 2e-3,
            "epochs": 2,
        },
        {"inputs": _NO_IDS | {"feature_dropout": 0.3}, "dropout": 0.1, "learning_rate": 2e-3, "epochs": 3},
    ),
}
TREE_POINTS: tuple[Mapping, ...] = (
    {"num_leaves": 15, "learning_rate": 0.05},
    {"num_leaves": 7, "learning_rate": 0.07},
    {"num_leaves": 15, "learning_rate": 0.05, "min_child_samples": 300, "feature_fraction": 0.25},
    {"num_leaves": 31, "learning_rate": 0.05, "min_child_samples": 300, "lambda_l2": 30.0},
    {"num_leaves": 7, "learning_rate": 0.07, "feature_fraction": 0.25, "lambda_l2": 30.0},
    {"num_leaves": 5, "learning_rate": 0.1, "min_child_samples": 300},
)

MICRO = "micro neighbours off"
ABLATIONS: dict[str, Mapping] = {
    "union instead of rank": {"graph": {"rank": "union"}},
    "w = 1 (theta 0)": {"graph": {"theta_quantile": 0.0}},
    "mean gate": {"model": {"gate": "mean"}},
    "task table off": {"model": {"table": "off"}},
    "info transfer off": {"model": {"info": False}},
    MICRO: {"model": {"micro": False}},
    "two hops off": {"model": {"two_hop": False}},
    "neighbour means off": {"inputs": {"neighbour_means": False}},
    "log-degrees off": {"inputs": {"degrees": False}},
    "single snapshot": {"graph": {"snapshots": "single"}},
}
"""mgoe.md 9.7, then the parts that this project adds."""


def searched() -> list[str]:
    """Contenders with a search of their own."""
    return [*NETS, TREES]


def points_of(contender: str, setting: Setting) -> list[NetRecipe | TreesRecipe]:
    """All recipes that a search may try, the first ones first."""
    if contender == TREES:
        return [TreesRecipe(history_rates=setting == "b", **point) for point in TREE_POINTS]
    return [_net(contender, setting, point) for point in POINTS[setting]]


def _net(contender: str, setting: Setting, point: Mapping) -> NetRecipe:
    reads_graph = contender in ("macgnn", "mgoe")
    inputs = point["inputs"] | (_OF_GRAPH if reads_graph else {})
    training = TrainingConfig(
        history_rates=setting == "b",
        optimiser="adamw",
        weight_decay=1e-2,
        schedule="cosine",
        warmup_steps=50,
        learning_rate=point["learning_rate"],
        epochs=point["epochs"],
    )
    model = NETS[contender] | {"inputs": inputs, "dropout": point["dropout"]}
    return NetRecipe(model=MODEL_CONFIG.validate_python(model), training=training, graph=GRAPH if reads_graph else None)


def with_columns(recipe: NetRecipe | TreesRecipe) -> NetRecipe | TreesRecipe:
    """The same recipe, with the graph's numeric columns among the inputs."""
    if isinstance(recipe, TreesRecipe):
        return recipe.model_copy(update={"graph": GRAPH})
    inputs = recipe.model.inputs.model_copy(update=_OF_GRAPH)
    return recipe.model_copy(update={"graph": GRAPH, "model": recipe.model.model_copy(update={"inputs": inputs})})


def with_history(recipe: NetRecipe | TreesRecipe) -> NetRecipe | TreesRecipe:
    """The same recipe, trained on history rows too."""
    if isinstance(recipe, TreesRecipe):
        return recipe.model_copy(update={"history_rows": True})
    training = recipe.training.model_copy(update={"batch_size": 2 * recipe.training.batch_size})
    return recipe.model_copy(update={"history_rows": True, "training": training})


def ablations_of(recipe: NetRecipe) -> dict[str, NetRecipe]:
    """The recipe without each of its parts. Micro neighbours are read by their ids: without these there are none."""
    lost = {title: change for title, change in ABLATIONS.items() if title != MICRO or recipe.model.inputs.ids}
    return {title: ablated(recipe, change) for title, change in lost.items()}


def ablated(recipe: NetRecipe, change: Mapping) -> NetRecipe:
    """The recipe with one part changed."""
    assert recipe.graph is not None  # noqa: S101 - MGOE reads a graph
    inputs = recipe.model.inputs.model_copy(update=change.get("inputs", {}))
    return recipe.model_copy(
        update={
            "model": recipe.model.model_copy(update={"inputs": inputs, **change.get("model", {})}),
            "graph": recipe.graph.model_copy(update=change.get("graph", {})),
        }
    )
