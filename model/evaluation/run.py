"""evaluate() and compare(): from artifacts to artifacts."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from model.artifact.manifest import Kind, Manifest, read_manifest, verify
from model.artifact.writer import ArtifactWriter
from model.data.artifact import read_dataset
from model.data.dataset import Dataset
from model.errors import UserError
from model.evaluation.card import CARD_NAME, ModelCard, card_of, read_card
from model.evaluation.comparison import ALL, COMPARISON_NAME, MEAN, Arm, Comparison
from model.evaluation.config import EvaluationConfig
from model.evaluation.gate_weights import gate_weights
from model.evaluation.measurement import Measurement, measure
from model.evaluation.pairing import differences
from model.evaluation.predictions import Predictions, read_predictions, write_predictions
from model.evaluation.report import comparison_report, evaluation_report
from model.evaluation.slices import names_in, slices_of
from model.evaluation.verdict import uncertain, verdict
from model.graph.artifact import read_graph
from model.training.trained import TrainedModel, check_encoders

METRICS_NAME = "metrics.json"
EVALUATION_REPORT = "evaluation.html"
COMPARISON_REPORT = "report.html"
FACT_METRICS = ("auc", "gauc", "log_loss", "ece", "calibration")


class Metrics(BaseModel):
    """All numbers of an evaluation, as metrics.json keeps them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = 1
    tasks: tuple[str, ...]
    slices: tuple[str, ...]
    rows: int
    config: EvaluationConfig
    measurements: tuple[Measurement, ...]


def evaluate(model: Path, log: Path, graph: Path | None, out: Path, config: EvaluationConfig) -> Manifest:
    """Scores the log's test rows with the model and measures it; writes the evaluation artifact to `out`.

    A graph that the model was trained without is left unread. Raises UserError for artifacts that do not belong
    together and for a log without test rows.
    """
    log_manifest = _manifest_of(log, "log")
    model_manifest = read_manifest(model)  # verified when it is loaded
    _check_kind(model, model_manifest, "model")
    if not model_manifest.facts.get("graph_version"):
        graph = None
    graph_manifest = None if graph is None else _manifest_of(graph, "macro-graph")
    check_encoders(model, model_manifest.facts, log_manifest)
    dataset = read_dataset(log)
    if len(dataset.test) == 0:
        raise UserError(f"log {log} has no test rows: move its split's test_from back")
    macro_graph = None if graph is None else read_graph(graph)
    trained = TrainedModel.load(model, dataset, macro_graph)
    predictions = _predict(trained, dataset, config)
    gates = gate_weights(trained, dataset.test, config.gate_rows, config.seed)
    card = card_of(trained, macro_graph, gates, log_manifest, graph_manifest)
    metrics = Metrics(
        tasks=predictions.tasks,
        slices=tuple(names_in(predictions.slices)),
        rows=len(predictions),
        config=config,
        measurements=tuple(measure(predictions, config)),
    )
    sources = [manifest.source() for manifest in (trained.manifest, log_manifest, graph_manifest) if manifest]
    with ArtifactWriter(out, "evaluation", "mgoe evaluate", sources) as writer:
        write_predictions(predictions, writer.path)
        (writer.path / METRICS_NAME).write_text(metrics.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (writer.path / CARD_NAME).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
        report = evaluation_report(card, predictions, metrics.measurements, config)
        (writer.path / EVALUATION_REPORT).write_text(report, encoding="utf-8")
        writer.facts |= {"role": card.role, "architecture": card.architecture, "rows": len(predictions)}
        writer.facts |= _facts(metrics)
    return writer.manifest


def compare(baseline: Path, candidate: Path, out: Path, config: EvaluationConfig) -> Manifest:
    """Compares two evaluation artifacts, paired row by row; writes the comparison artifact with its report to `out`.

    Raises UserError unless both evaluations stand on the same log digest, test rows and labels.
    """
    manifests = [verify(side) for side in (baseline, candidate)]
    for side, manifest in zip((baseline, candidate), manifests, strict=True):
        _check_kind(side, manifest, "evaluation")
    cards = read_card(baseline), read_card(candidate)
    if cards[0].lineage.log_digest != cards[1].lineage.log_digest:
        raise UserError(
            f"the evaluations stand on different logs: baseline {cards[0].lineage.log_digest[:12]}, candidate "
            f"{cards[1].lineage.log_digest[:12]}; evaluate both models on one log"
        )
    sides = read_predictions(baseline), read_predictions(candidate)
    comparison = _compare(cards, manifests, sides, config)
    with ArtifactWriter(out, "comparison", "mgoe compare", [manifest.source() for manifest in manifests]) as writer:
        (writer.path / COMPARISON_NAME).write_text(comparison.model_dump_json(indent=1) + "\n", encoding="utf-8")
        report = comparison_report(comparison, cards, sides, config)
        (writer.path / COMPARISON_REPORT).write_text(report, encoding="utf-8")
        writer.facts |= {"verdict": comparison.verdict, "baseline": cards[0].architecture}
        writer.facts |= {"candidate": cards[1].architecture, "rows": comparison.rows}
        writer.facts |= _comparison_facts(comparison)
    return writer.manifest


def read_metrics(folder: Path) -> Metrics:
    """metrics.json of an evaluation artifact. Raises UserError where it is missing or malformed."""
    try:
        return Metrics.model_validate_json((folder / METRICS_NAME).read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(f"no evaluation at {folder}: {METRICS_NAME}: {str(error).splitlines()[0]}") from error


def _predict(trained: TrainedModel, dataset: Dataset, config: EvaluationConfig) -> Predictions:
    test = dataset.test
    return Predictions(
        tasks=dataset.schema.task_names,
        user=test.user,
        item=test.item,
        time=test.time,
        labels=test.labels,
        observed=test.observed,
        scores=trained.predict(test, config.batch_size),
        slices=slices_of(dataset),
    )


def _compare(
    cards: tuple[ModelCard, ModelCard],
    manifests: list[Manifest],
    sides: tuple[Predictions, Predictions],
    config: EvaluationConfig,
) -> Comparison:
    names = [card.architecture for card in cards]
    if names[0] == names[1]:
        names = [f"{name} ({role})" for name, role in zip(names, ("baseline", "candidate"), strict=True)]
    arms = [
        Arm(name=name, model_digest=card.lineage.model_digest, evaluation_digest=manifest.digest)
        for name, card, manifest in zip(names, cards, manifests, strict=True)
    ]
    found = tuple(differences(sides[0], sides[1], config))
    overall = Comparison(
        baseline=arms[0],
        candidate=arms[1],
        log_digest=cards[0].lineage.log_digest,
        tasks=sides[0].tasks,
        slices=tuple(names_in(sides[0].slices)),
        rows=len(sides[0]),
        users=next(entry.users for entry in found if (entry.task, entry.slice) == (MEAN, ALL)),
        level=config.level,
        replicates=config.replicates,
        seed=config.seed,
        differences=found,
    )
    trainings = {name: card.report for name, card in zip(names, cards, strict=True)}
    return overall.model_copy(update={"verdict": verdict(overall), "uncertain": uncertain(overall, trainings)})


def _facts(metrics: Metrics) -> dict[str, dict[str, float]]:
    """Values on all test rows, per metric and task."""
    facts: dict[str, dict[str, float]] = {metric: {} for metric in FACT_METRICS}
    for entry in metrics.measurements:
        if entry.slice == ALL and entry.method == "bootstrap" and entry.value is not None:
            facts[entry.metric][entry.task] = entry.value
    return facts


def _comparison_facts(comparison: Comparison) -> dict[str, dict[str, float]]:
    """Differences on all test rows, per metric and task."""
    facts: dict[str, dict[str, float]] = {}
    for entry in comparison.differences:
        if entry.slice == ALL and entry.method == "bootstrap" and entry.difference is not None:
            facts.setdefault(f"{entry.metric}_difference", {})[entry.task] = entry.difference
    return facts


def _manifest_of(folder: Path, kind: Kind) -> Manifest:
    manifest = verify(folder)
    _check_kind(folder, manifest, kind)
    return manifest


def _check_kind(folder: Path, manifest: Manifest, kind: Kind) -> None:
    if manifest.kind != kind:
        raise UserError(f"{folder} holds a {manifest.kind} artifact; this needs one of kind {kind}")
