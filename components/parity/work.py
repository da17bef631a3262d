"""The parity step: a bundle and an evaluation of the same model in, nothing out but the assurance."""
# ruff: noqa: PLC0415  # torch takes a second to load

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from components.artifacts import folder_of
from components.step import step
from model.recipe import load_recipe

if TYPE_CHECKING:
    from model.bundle.parity import Float32
    from model.bundle.probe import ProbeRequest
    from serving.ranker.ranker import Ranker


def run(bundle: Any, log: Any, evaluation: Any, metrics: Any, *, recipe: str, role: str) -> None:
    """`bundle` to `metrics` are kfp artifacts; the arguments are the component's.

    Never reused: it takes seconds, and what it assures is the files that are there now.
    """
    with step(f"parity {role}") as this, TemporaryDirectory(prefix="parity-") as cache:
        from functools import partial

        from model.bundle.parity import check_parity
        from serving.ranker.ranker import Ranker
        from serving.ranker.settings import RankerSettings

        config = load_recipe(recipe).bundle
        settings = RankerSettings(cache=Path(cache), scorers=config.parity_scorers)
        folders = folder_of(bundle, "bundle"), folder_of(log, "log"), folder_of(evaluation, "evaluation")
        ranker = Ranker.load(folders[0], settings)
        found = check_parity(
            ranker.bundle,
            *folders[1:],
            partial(served, ranker),
            rows=config.parity_rows,
            minimum=config.parity_minimum,
        )
        this.notes.append(f"{found.rows} test rows within {found.worst:.0e}")
        metrics.log_metric("rows", found.rows)
        metrics.log_metric("largest_difference", found.worst)


def served(ranker: Ranker, requests: Sequence[ProbeRequest]) -> list[Float32]:
    """Probabilities as a server answers these requests: each read from its JSON and checked, then ranked together."""
    from serving.ranker.validation import parse_json, parse_request

    limits = ranker.settings.limits
    asked = []
    for request in requests:
        body = json.dumps(request.model_dump(mode="json", exclude={"name"}), allow_nan=False).encode()
        asked.append(parse_request(parse_json(body, limits), limits, ranker.tasks, ranker.context_features))
    return [answer.probabilities for answer in ranker.rank_many(asked)]
