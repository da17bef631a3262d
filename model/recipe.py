"""A recipe: all choices of one run (graph, two models, training, evaluation, bundle, gate) in one typed YAML file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from model.bundle.config import BundleConfig
from model.data.refused_field import refusal
from model.errors import UserError
from model.evaluation.config import EvaluationConfig
from model.graph.config import GraphConfig
from model.nets.config import ModelConfig
from model.registry.gate import Gate
from model.training.config import TrainingConfig

Role = Literal["baseline", "candidate"]


class Recipe(BaseModel):
    """name: how reports call it. baseline, candidate: the models.

    training: of both. baseline_training, candidate_training: instead of it for one of them, where each was tuned apart.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    graph: GraphConfig = GraphConfig()
    baseline: ModelConfig
    candidate: ModelConfig
    training: TrainingConfig = TrainingConfig()
    baseline_training: TrainingConfig | None = None
    candidate_training: TrainingConfig | None = None
    evaluation: EvaluationConfig = EvaluationConfig()
    bundle: BundleConfig = BundleConfig()
    gate: Gate = Gate()

    def model_of(self, role: Role) -> ModelConfig:
        return self.baseline if role == "baseline" else self.candidate

    def training_of(self, role: Role) -> TrainingConfig:
        own = self.baseline_training if role == "baseline" else self.candidate_training
        return own or self.training

    def check_tasks(self, tasks: Sequence[str]) -> None:
        """Raises UserError where a part of the recipe names a task that is not among the log's `tasks`."""
        named: dict[str, Iterable[str]] = {
            f"{part}.loss_weights": training.loss_weights
            for part in ("training", "baseline_training", "candidate_training")
            if isinstance(training := getattr(self, part), TrainingConfig)
        }
        named |= {"bundle.utility": self.bundle.utility or (), "gate.required_tasks": self.gate.required_tasks}
        for field, names in named.items():
            for name in names:
                if name not in tasks:
                    raise UserError(
                        f"recipe {self.name}: {field} names the task {name!r}, but the log's tasks are"
                        f" {', '.join(tasks)}"
                    )


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with mgoe."""
    folder = resources.files("model") / "recipes"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(recipe: str) -> Recipe:
    """Read a recipe from a shipped name, a path, or YAML text (what travels to a cluster).

    Raises:
        UserError: no such recipe, no YAML, or a field that is unknown or out of range.
    """
    text, origin = _text_of(recipe)
    try:
        fields = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"recipe {origin} is not YAML: {' '.join(str(error).split())}") from error
    if fields is None:
        raise UserError(f"recipe {origin} is empty; it names a baseline and a candidate")
    if not isinstance(fields, dict):
        raise UserError(f"recipe {origin} holds {type(fields).__name__}, not a mapping of fields")
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise UserError(f"recipe {origin}: {explain(error)}") from error


def _text_of(recipe: str) -> tuple[str, str]:
    if "\n" in recipe:
        return recipe, "given as text"
    path = Path(recipe)
    if path.suffix in {".yaml", ".yml"} or path.exists():
        try:
            return path.read_text(encoding="utf-8"), str(path)
        except OSError as error:
            raise UserError(f"recipe {path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"recipe {path} is not UTF-8 text") from error
    if recipe not in shipped_recipes():
        raise UserError(f"no recipe named {recipe!r}: give a YAML file or one of {', '.join(shipped_recipes())}")
    return (resources.files("model") / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8"), repr(recipe)


def explain(error: ValidationError) -> str:
    """All findings of a validation in one line: field, value, what would be right."""
    return "; ".join(
        f"{'.'.join(str(part) for part in finding['loc']) or 'recipe'}: {refusal(finding)}"
        for finding in error.errors()
    )
