"""The HTML reports: one self-contained file each, readable offline, on a phone, by day or night, by ear or eye."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from model.evaluation import plots
from model.evaluation.card import ModelCard
from model.evaluation.comparison import ALL, HIGHER_IS_BETTER, MEAN, Comparison, Difference, Metric
from model.evaluation.config import EvaluationConfig
from model.evaluation.measurement import Measurement
from model.evaluation.predictions import Predictions
from model.evaluation.verdict import findings
from model.metrics.calibration import Reliability, reliability

METRIC_WORDS: dict[str, tuple[str, str]] = {
    "auc": ("AUC", "chance that a random positive row outscores a random negative one"),
    "gauc": (
        "GAUC",
        "AUC within each user, averaged over users with both classes, weighted by impressions (MacGNN)",
    ),
    "log_loss": ("Log loss", "mean negative log-likelihood of the labels, in nats; lower is better"),
    "ece": ("Calibration error", "mean gap between predicted and observed rate over equal-mass bins; lower is better"),
    "calibration": ("Calibration", "predicted mean over observed rate; 1 is right"),
}
OUTCOME_WORDS = {
    "better": ("▲", "better"),
    "worse": ("▼", "worse"),
    "unclear": ("◆", "no clear difference"),
    "unknown": ("–", "not measured"),
}
Tones = Sequence[tuple[str, str, ModelCard]]
"""Legend name, colour name and card of every model of the report."""


def comparison_report(
    comparison: Comparison,
    cards: tuple[ModelCard, ModelCard],
    sides: tuple[Predictions, Predictions],
    config: EvaluationConfig,
) -> str:
    """The page of a comparison. cards, sides: baseline first."""
    models: Tones = [
        (arm.name, tone, card)
        for arm, tone, card in zip(
            (comparison.baseline, comparison.candidate), ("baseline", "candidate"), cards, strict=True
        )
    ]
    named = {name: (tone, side) for (name, tone, _), side in zip(models, sides, strict=True)}
    return _render(
        "comparison.html.j2",
        title=f"{comparison.candidate.name} against {comparison.baseline.name}",
        comparison=comparison,
        findings=findings(comparison),
        tables={metric: _rows(comparison, metric) for metric in HIGHER_IS_BETTER},
        delong=[entry for entry in comparison.differences if entry.method == "delong" and entry.slice == ALL],
        forests=_task_forests(comparison),
        slice_forests=_slice_forests(comparison),
        slice_rows=[entry for entry in _bootstrap(comparison) if (entry.metric, entry.task) == ("auc", MEAN)],
        **_shared(models, named, comparison.tasks, config),
    )


def evaluation_report(
    card: ModelCard, predictions: Predictions, measurements: Sequence[Measurement], config: EvaluationConfig
) -> str:
    """The page of one model's evaluation."""
    models: Tones = [(card.architecture, "candidate", card)]
    measured = [entry for entry in measurements if entry.method == "bootstrap"]
    by_slice = [entry for entry in measured if (entry.metric, entry.task) == ("auc", MEAN)]
    return _render(
        "evaluation.html.j2",
        title=f"{card.architecture}, {card.role}" if card.role else card.architecture,
        rows=len(predictions),
        tables={metric: [e for e in measured if e.slice == ALL and e.metric == metric] for metric in METRIC_WORDS},
        slice_rows=by_slice,
        slice_forests=_absolute_forest(by_slice),
        delong=[entry for entry in measurements if entry.method == "delong" and entry.slice == ALL],
        **_shared(models, {card.architecture: ("candidate", predictions)}, predictions.tasks, config),
    )


def _shared(
    models: Tones, sides: Mapping[str, tuple[str, Predictions]], tasks: Sequence[str], config: EvaluationConfig
) -> dict[str, Any]:
    """What both pages show of the models themselves."""
    return {
        "config": config,
        "tasks": tasks,
        "models": models,
        "calibrations": [_calibration(number, task, sides, config.bins) for number, task in enumerate(tasks)],
        "curves": _curves(models, tasks),
        "groups": _groups(models),
        "gates": [
            (name, gates, plots.gate_map(f"gates-{tone}-{number}", f"{name}, {gates.layer}", gates))
            for name, tone, card in models
            for number, gates in enumerate(card.gates)
        ],
        "recipes": [(name, yaml.safe_dump(_recipe(card), sort_keys=False)) for name, _, card in models],
    }


def _bootstrap(comparison: Comparison) -> list[Difference]:
    return [entry for entry in comparison.differences if entry.method == "bootstrap"]


def _rows(comparison: Comparison, metric: Metric) -> list[Difference]:
    return [comparison.find(metric, task) for task in (*comparison.tasks, MEAN)]


def _spans(named: Sequence[tuple[str, Difference]]) -> list[plots.Span]:
    """Lines of a forest plot; entries without an interval stay out of it (their table row says so)."""
    return [
        plots.Span(name, entry.difference, entry.lower, entry.upper)
        for name, entry in named
        if entry.difference is not None and entry.lower is not None and entry.upper is not None
    ]


def _task_forests(comparison: Comparison) -> list[Markup]:
    drawn = []
    for metric in ("auc", "gauc"):
        spans = _spans([(entry.task, entry) for entry in _rows(comparison, metric)])
        if spans:
            word = METRIC_WORDS[metric][0]
            drawn.append(plots.forest(f"tasks-{metric}", f"{word} by task", f"difference in {word}", spans))
    return drawn


def _slice_forests(comparison: Comparison) -> list[Markup]:
    drawn = []
    for number, task in enumerate((MEAN, *comparison.tasks)):
        entries = [entry for entry in _bootstrap(comparison) if (entry.metric, entry.task) == ("auc", task)]
        spans = _spans([(entry.slice, entry) for entry in entries])
        if spans:
            title = "Mean AUC by slice" if task == MEAN else f"AUC of {task} by slice"
            drawn.append(plots.forest(f"slices-{number}", title, "difference in AUC", spans))
    return drawn


def _absolute_forest(entries: Sequence[Measurement]) -> list[Markup]:
    spans = [
        plots.Span(entry.slice, entry.value, entry.lower, entry.upper)
        for entry in entries
        if entry.value is not None and entry.lower is not None and entry.upper is not None
    ]
    return [plots.forest("slices", "Mean AUC by slice", "AUC", spans, zero=False)] if spans else []


def _calibration(
    number: int, task: str, sides: Mapping[str, tuple[str, Predictions]], bins: int
) -> tuple[str, Markup, dict[str, Reliability]]:
    """Task, plot and the bins behind it, by model."""
    found = {}
    for name, (tone, side) in sides.items():
        seen = side.observed[:, number]
        found[name] = tone, reliability(side.labels[seen, number], side.scores[seen, number], bins)
    plot = plots.calibration_plot(f"calibration-{number}", task, found) if _any_rows(found) else Markup("")
    return task, plot, {name: own for name, (_, own) in found.items()}


def _any_rows(found: Mapping[str, tuple[str, Reliability]]) -> bool:
    return all(len(bins.rows) for _, bins in found.values())


def _curves(models: Tones, tasks: Sequence[str]) -> list[Markup]:
    lines = [plots.Curve(name, tone, card.report) for name, tone, card in models]
    wanted = [("mean_auc", "Mean validation AUC"), ("train_loss", "Training loss")]
    wanted += [(task, f"Validation AUC of {task}") for task in tasks]
    return [
        plots.learning_curve(f"curve-{number}", lines, quantity, title)
        for number, (quantity, title) in enumerate(wanted)
    ]


def _groups(models: Tones) -> dict[str, tuple[Markup, dict[str, int]]]:
    """Plot and table of the macro groups of the last model that reads a graph; both read the same one in a pipeline."""
    sizes = [card.groups for _, _, card in models if card.groups is not None]
    if not sizes:
        return {}
    return {
        side: (plots.group_sizes(f"groups-{side}", side, counts), plots.spread(counts))
        for side, counts in (("user", sizes[-1].users), ("item", sizes[-1].items))
    }


def _recipe(card: ModelCard) -> dict[str, Any]:
    return {"model": card.options, "training": card.training}


def _render(template: str, **context: Any) -> str:
    environment = Environment(
        loader=PackageLoader("model.evaluation"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"fixed": _fixed, "signed": _signed, "span": _span, "count": _count, "typeset": _typeset}
    environment.globals |= {"words": METRIC_WORDS, "outcomes": OUTCOME_WORDS, "mean": MEAN, "everything": ALL}
    return environment.get_template(template).render(**context)


def _fixed(number: float | None, digits: int = 4) -> str:
    return "–" if number is None else f"{number:.{digits}f}"


def _signed(number: float | None, digits: int = 4) -> str:
    return "–" if number is None else f"{number:+.{digits}f}".replace("-", "−")


def _span(entry: Difference | Measurement, digits: int = 4) -> str:
    """`+0.0210 to +0.0301`; signed for differences."""
    if entry.lower is None or entry.upper is None:
        return "no interval"
    shown = _signed if isinstance(entry, Difference) else _fixed
    return f"{shown(entry.lower, digits)} to {shown(entry.upper, digits)}"


def _typeset(text: str) -> str:
    """A sentence as the page sets it: minus signs as in its tables, and no line that begins with a percent sign."""
    return re.sub(r"(?<![\w.])-(?=\d)", "−", text).replace(" %", "\N{NO-BREAK SPACE}%")


def _count(number: int) -> str:
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
