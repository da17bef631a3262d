"""Runs of recipes, each cached under the out folder as a JSON row and test scores: a stopped benchmark goes on.

Legend: N test rows, T tasks.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict

from benchmarks.quality import trees
from benchmarks.quality.recipe import NetRecipe, TreesRecipe, digest_of
from model.data.dataset import Dataset
from model.graph.build import build
from model.graph.config import GraphConfig
from model.graph.macro_graph import MacroGraph
from model.training.assembly import make_job
from model.training.loop import Surroundings, fit
from model.training.prediction import predict_rows

Scores = npt.NDArray[np.float32]


class Run(BaseModel):
    """One trained model. validation: AUC per task. epochs: passes (or trees of the first task) at the best moment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str
    contender: str
    setting: str
    seed: int
    validation: dict[str, float]
    epochs: float
    seconds: float

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.validation.values())))


@dataclass(frozen=True)
class EncodedLog:
    """A log artifact in memory, and the graphs made of it so far."""

    dataset: Dataset
    digest: str
    graphs: dict[GraphConfig, MacroGraph] = field(default_factory=dict)

    def graph(self, config: GraphConfig | None) -> MacroGraph | None:
        if config is None:
            return None
        if config not in self.graphs:
            self.graphs[config] = build(self.dataset, config, self.digest)
        return self.graphs[config]

    def frozen(self) -> EncodedLog:
        """The same log with all test rows at the time of the first one."""
        test = self.dataset.test
        at_once = replace(test, time=np.full(len(test), test.time.min()))
        return EncodedLog(replace(self.dataset, test=at_once), f"{self.digest}, frozen")


@dataclass(frozen=True)
class Bench:
    """The log as it is and with history rows to train on (`replayed`), and where runs are kept.

    Both hold the same validation and test rows.
    """

    log: EncodedLog
    replayed: EncodedLog
    out: Path
    first_seed: int = 0

    def frozen(self) -> Bench:
        """The same, but every test row reads what was known when the test days began."""
        return replace(self, log=self.log.frozen(), replayed=self.replayed.frozen())

    def log_of(self, recipe: NetRecipe | TreesRecipe) -> EncodedLog:
        return self.replayed if recipe.history_rows else self.log

    def run(self, contender: str, setting: str, recipe: NetRecipe | TreesRecipe, seed: int) -> tuple[Run, Scores]:
        """Trains, or reads what an earlier call trained. Scores [N, T]: probabilities of the test rows.

        seed: from 0, counted from the first one.
        The test rows are scored in the same go, so that nothing is trained twice; nothing but `measure` reads them.
        """
        seed += self.first_seed
        digest = digest_of(recipe, seed, self.log_of(recipe).digest)
        row, scores = self.out / "runs" / f"{digest}.json", self.out / "runs" / f"{digest}.npy"
        if row.exists():
            known = Run.model_validate_json(row.read_text())
            return known.model_copy(update={"contender": contender, "setting": setting}), np.load(scores)
        began = time.monotonic()
        fitted = self._net(recipe, seed) if isinstance(recipe, NetRecipe) else self._trees(recipe, seed)
        run = Run(
            digest=digest,
            contender=contender,
            setting=setting,
            seed=seed,
            validation=fitted[0],
            epochs=fitted[1],
            seconds=round(time.monotonic() - began, 1),
        )
        row.parent.mkdir(parents=True, exist_ok=True)
        np.save(scores, fitted[2], allow_pickle=False)
        aside = row.with_suffix(".part")
        aside.write_text(json.dumps(run.model_dump(), indent=1) + "\n")
        aside.rename(row)
        return run, fitted[2]

    def _net(self, recipe: NetRecipe, seed: int) -> tuple[dict[str, float], float, Scores]:
        training = recipe.training.model_copy(update={"seed": seed})
        log = self.log_of(recipe)
        job = make_job(log.dataset, log.graph(recipe.graph), recipe.model, training, torch.device("cpu"))
        weights, report = fit(job, Surroundings())
        job.architecture.load_state_dict(weights)
        test = job.store.rows(log.dataset.test)
        scores = predict_rows(job.architecture, job.store, test, torch.arange(len(test))).numpy()
        validation = {task: float(value or 0.0) for task, value in report.kept.auc.items()}
        return validation, report.kept.epoch, scores

    def _trees(self, recipe: TreesRecipe, seed: int) -> tuple[dict[str, float], float, Scores]:
        log = self.log_of(recipe)
        return trees.fit(log.dataset, log.graph(recipe.graph), recipe, seed)
