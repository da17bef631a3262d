"""What one contender is trained with in one setting: the unit that a search chooses, a run caches and git keeps."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from model.errors import UserError
from model.graph.config import GraphConfig
from model.nets.config import ModelConfig
from model.training.config import TrainingConfig

Setting = Literal["a", "b"]
"""a: the same plain fields for all. b: dense history features of user and item for all, renewed every day."""
FOLDER = Path(__file__).parent / "recipes"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetRecipe(_Strict):
    """A net. graph: None where the net reads none."""

    kind: Literal["net"] = "net"
    model: ModelConfig
    training: TrainingConfig
    graph: GraphConfig | None = None
    history_rows: bool = False
    """Whether the last rows of every user's history are trained on too, labels that they lack masked."""


class TreesRecipe(_Strict):
    """Gradient-boosted trees, one booster a task (LightGBM's names). Rounds are chosen by early stopping."""

    kind: Literal["trees"] = "trees"
    num_leaves: Annotated[int, Field(ge=2)] = 15
    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    min_child_samples: Annotated[int, Field(ge=1)] = 100
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 0.5
    lambda_l2: Annotated[float, Field(ge=0)] = 10.0
    max_bin: Annotated[int, Field(ge=2)] = 127
    rounds: Annotated[int, Field(ge=1)] = 1000
    patience: Annotated[int, Field(ge=1)] = 50
    history_rates: bool = False
    graph: GraphConfig | None = None
    """Where set, the graph's log-degrees and neighbour means are among the columns."""
    history_rows: bool = False
    """As for nets: boosters of tasks that the history holds are given its last rows too."""


Recipe = Annotated[NetRecipe | TreesRecipe, Field(discriminator="kind")]


class Chosen(_Strict):
    """The best of a search. validation: its mean AUC there. trials: how many recipes were tried, by as many seeds."""

    contender: str
    setting: Setting
    validation: float
    trials: int
    seeds: int
    recipe: Recipe


def digest_of(recipe: NetRecipe | TreesRecipe, seed: int, data: str) -> str:
    """Names a run: equal recipes, seeds and logs give equal runs."""
    text = f"{recipe.model_dump_json()}|{seed}|{data}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def path_of(setting: Setting, contender: str) -> Path:
    return FOLDER / setting / f"{contender}.yaml"


def write_chosen(chosen: Chosen) -> Path:
    """Keeps a search's choice beside the code. Options that stand at their defaults are left out."""
    path = path_of(chosen.setting, chosen.contender)
    path.parent.mkdir(parents=True, exist_ok=True)
    fields: dict[str, Any] = chosen.model_dump(mode="json", exclude_defaults=True)
    fields["recipe"]["kind"] = chosen.recipe.kind
    if isinstance(chosen.recipe, NetRecipe):
        fields["recipe"]["model"]["architecture"] = chosen.recipe.model.architecture
    path.write_text(yaml.safe_dump(fields, sort_keys=False))
    return path


def read_chosen(setting: Setting, contender: str) -> Chosen:
    """The committed choice. Raises UserError where there is none yet."""
    path = path_of(setting, contender)
    if not path.exists():
        raise UserError(f"no recipe {path}: run the search first (--trials 4)")
    return Chosen.model_validate(yaml.safe_load(path.read_text()))
