"""Does the bundle score the log's own test rows as the evaluation did? What must hold before a model is registered.

Legend: N rows, T tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.artifact.manifest import Kind, Manifest, verify
from model.bundle.bundle import Bundle, open_bundle
from model.bundle.context_encoder import Context
from model.bundle.probe import TOLERANCE
from model.bundle.raw_rows import raw_request
from model.bundle.reference import probabilities
from model.bundle.signature import Verifier
from model.data.artifact import read_dataset, read_encoders
from model.errors import Fault, UserError
from model.evaluation.predictions import read_predictions

Float32 = npt.NDArray[np.float32]
Score = Callable[[Bundle, str, Sequence[str], Context, float], Float32]
"""Per-task probabilities [items, T] of a user's items in a context at a time (unix seconds)."""


@dataclass(frozen=True)
class Parity:
    """rows: how many were compared. worst: largest difference of a probability."""

    rows: int
    worst: float


def check_parity(
    bundle: Path,
    log: Path,
    evaluation: Path,
    *,
    rows: int = 2000,
    seed: int = 0,
    score: Score = probabilities,
    verifier: Verifier | None = None,
) -> Parity:
    """Sends test rows down the serving path as raw requests and compares with the evaluation's predictions.

    verifier: whom to trust (model.bundle.signature), None: no signature is asked for. Only rows from the bundle's
    moment on are drawn: before it the trainer read older tables than serving holds.
    Raises Fault where a probability differs by more than TOLERANCE, UserError where artifacts do not belong together.
    """
    opened = open_bundle(bundle, verifier)
    _check_lineage(opened, bundle, _verified(log, "log"), _verified(evaluation, "evaluation"))
    dataset, encoders = read_dataset(log, mapped=True), read_encoders(log)
    expected_NT = read_predictions(evaluation).scores
    moment = max(opened.serving.graph_as_of or 0, opened.serving.rates_as_of or 0)
    eligible = np.flatnonzero(dataset.test.time >= moment)
    if len(expected_NT) != len(dataset.test) or not len(eligible):
        raise UserError(f"evaluation {evaluation} has no prediction for a test row of {log} after the bundle's moment")
    drawn = np.random.default_rng(seed).choice(eligible, min(rows, len(eligible)), replace=False)
    worst = 0.0
    for row in np.sort(drawn).tolist():
        asked = raw_request(dataset, encoders, dataset.test, row)
        found_T = score(opened, asked.user, asked.items, asked.context, asked.time)[0]
        difference = float(np.abs(found_T.astype(np.float64) - expected_NT[row]).max())
        if not difference <= TOLERANCE:
            raise Fault(
                f"bundle {bundle}: test row {row} (user {asked.user!r}, item {asked.items[0]!r}) scores"
                f" {difference:.2e} away from its evaluation; at most {TOLERANCE:g} is right"
            )
        worst = max(worst, difference)
    return Parity(len(drawn), worst)


def _check_lineage(bundle: Bundle, folder: Path, log: Manifest, evaluation: Manifest) -> None:
    """Raises UserError unless bundle and evaluation are of one model and of this log."""
    for what, made_from in ((f"bundle {folder}", bundle.manifest.made_from), ("the evaluation", evaluation.made_from)):
        if log.source() not in made_from:
            raise UserError(f"{what} was not made from this log (digest {log.digest[:12]})")
    models = [
        next((source.digest for source in made_from if source.kind == "model"), "none")
        for made_from in (bundle.manifest.made_from, evaluation.made_from)
    ]
    if models[0] != models[1]:
        raise UserError(f"bundle {folder} holds model {models[0][:12]}, but the evaluation is of {models[1][:12]}")


def _verified(folder: Path, kind: Kind) -> Manifest:
    manifest = verify(folder)
    if manifest.kind != kind:
        raise UserError(f"{folder} holds a {manifest.kind} artifact; this needs one of kind {kind}")
    return manifest
