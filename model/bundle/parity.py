"""Does what serves score the log's own test rows as the evaluation did? What must hold before a model is registered.

Legend: N rows, T tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.artifact.manifest import Kind, Manifest, verify
from model.bundle.bundle import Bundle
from model.bundle.probe import TOLERANCE, ProbeRequest
from model.bundle.raw_rows import raw_request
from model.data.artifact import read_dataset, read_encoders
from model.errors import Fault, UserError
from model.evaluation.predictions import read_predictions

Float32 = npt.NDArray[np.float32]
Score = Callable[[Sequence[ProbeRequest]], Sequence[Float32]]
"""Per-task probabilities [items, T] of every request, in order, as they would be served."""

BATCHES = (1, 8, 64, 512)
"""Requests that are asked together, in turn: alone, and in batches of sizes that servers score in different ways."""


@dataclass(frozen=True)
class Parity:
    """rows: how many were compared. worst: largest difference of a probability."""

    rows: int
    worst: float


def check_parity(
    bundle: Bundle,
    log: Path,
    evaluation: Path,
    score: Score,
    *,
    rows: int = 2000,
    minimum: int = 100,
    seed: int = 0,
) -> Parity:
    """Asks `score` for test rows as raw requests, a user's together, and compares with the evaluation's predictions.

    bundle: the one that `score` serves. Only rows from its moment on are drawn: before it the trainer read older tables
    than serving holds. minimum: fewer such rows prove too little, unless `rows` asks for fewer.
    Raises Fault where a probability differs by more than TOLERANCE, UserError where artifacts do not belong together or
    there are too few rows.
    """
    _check_lineage(bundle, _verified(log, "log"), _verified(evaluation, "evaluation"))
    dataset, encoders = read_dataset(log, mapped=True), read_encoders(log)
    expected_NT = read_predictions(evaluation).scores
    if len(expected_NT) != len(dataset.test):
        raise UserError(f"evaluation {evaluation} has {len(expected_NT)} predictions for {len(dataset.test)} test rows")
    moment = max(bundle.serving.graph_as_of or 0, bundle.serving.rates_as_of or 0)
    eligible = np.flatnonzero(dataset.test.time >= moment)
    if len(eligible) < min(rows, minimum):
        raise UserError(
            f"log {log} has {len(eligible)} test rows from the moment of bundle {bundle.folder} on, and parity needs"
            f" {min(rows, minimum)}; take more, or lower bundle.parity_minimum in the recipe"
        )
    drawn = np.sort(np.random.default_rng(seed).choice(eligible, min(rows, len(eligible)), replace=False))
    by_user = drawn[np.argsort(dataset.test.user[drawn], kind="stable")]
    worst = 0.0
    for some in _batches(by_user.tolist()):
        asked = [raw_request(dataset, encoders, dataset.test, row) for row in some]
        for row, request, found_1T in zip(some, asked, score(asked), strict=True):
            worst = max(worst, _difference(bundle, row, request, found_1T, expected_NT[row]))
    return Parity(len(drawn), worst)


def _batches(rows: list[int]) -> Iterator[list[int]]:
    first = 0
    for size in cycle(BATCHES):
        if first >= len(rows):
            return
        yield rows[first : first + size]
        first += size


def _difference(bundle: Bundle, row: int, asked: ProbeRequest, found_1T: Float32, expected_T: Float32) -> float:
    difference = float(np.abs(found_1T[0].astype(np.float64) - expected_T).max())
    if not difference <= TOLERANCE:
        raise Fault(
            f"bundle {bundle.folder}: test row {row} (user {asked.user!r}, item {asked.items[0]!r}) scores"
            f" {difference:.2e} away from its evaluation; at most {TOLERANCE:g} is right"
        )
    return difference


def _check_lineage(bundle: Bundle, log: Manifest, evaluation: Manifest) -> None:
    """Raises UserError unless bundle and evaluation are of one model and of this log."""
    for what, made_from in (
        (f"bundle {bundle.folder}", bundle.manifest.made_from),
        ("the evaluation", evaluation.made_from),
    ):
        if log.source() not in made_from:
            raise UserError(f"{what} was not made from this log (digest {log.digest[:12]})")
    models = [
        next((source.digest for source in made_from if source.kind == "model"), "none")
        for made_from in (bundle.manifest.made_from, evaluation.made_from)
    ]
    if models[0] != models[1]:
        raise UserError(
            f"bundle {bundle.folder} holds model {models[0][:12]}, but the evaluation is of {models[1][:12]}"
        )


def _verified(folder: Path, kind: Kind) -> Manifest:
    manifest = verify(folder)
    if manifest.kind != kind:
        raise UserError(f"{folder} holds a {manifest.kind} artifact; this needs one of kind {kind}")
    return manifest
