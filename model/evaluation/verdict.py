"""A comparison in plain words: which model is better, on what, by how much, and what stays uncertain. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model.evaluation.comparison import ALL, MEAN, Comparison, Difference
from model.training.curve import TrainingReport, best_of

_OUTCOMES = {"better": "ranks better", "worse": "ranks worse", "unclear": "cannot be told apart"}
SMALL = 200
"""A slice with fewer rows is named as small."""


def verdict(comparison: Comparison) -> str:
    """`findings` as one paragraph."""
    return " ".join(findings(comparison))


def findings(comparison: Comparison) -> list[str]:
    """Two to five sentences, the primary finding (mean AUC on all test rows) first."""
    names = comparison.candidate.name, comparison.baseline.name
    tasks = [comparison.find("auc", task) for task in comparison.tasks]
    sentences = [_headline(comparison.find("auc"), *names), _by_task(tasks), *_beside(comparison)]
    return [sentence for sentence in sentences if sentence]


def uncertain(comparison: Comparison, trainings: Mapping[str, TrainingReport]) -> tuple[str, ...]:
    """What the numbers do not settle, one sentence each. trainings: by the model's name."""
    notes = [
        f"{name} was still improving when its epochs were over: trained for longer, it may rank better than shown."
        for name, training in trainings.items()
        if _unfinished(training)
    ]
    unclear = [entry.task for entry in _of(comparison, "auc", ALL) if entry.outcome == "unclear"]
    if unclear:
        notes.append(
            f"AUC on {_listed(unclear)}: the interval of the difference holds 0, so either model may be ahead."
        )
    undefined = sorted({entry.slice for entry in comparison.differences if entry.outcome == "unknown"})
    if undefined:
        notes.append(f"No interval for some tasks on {_listed(undefined)}: too few positives or rows to measure there.")
    small = [entry for entry in comparison.differences if (entry.metric, entry.task) == ("auc", MEAN)]
    tiny = [f"{entry.slice} ({entry.n} rows)" for entry in small if entry.slice != ALL and 0 < entry.n < SMALL]
    if tiny:
        notes.append(f"Small slices: {_listed(tiny)}.")
    gauc, auc = comparison.find("gauc"), comparison.find("auc")
    if {gauc.outcome, auc.outcome} == {"better", "worse"}:
        notes.append("AUC and GAUC point in opposite ways: the order over all rows and the order within a user differ.")
    notes.append(
        "The intervals cover the choice of test users only, not another training seed or another week; "
        f"the {len(comparison.slices) - 1} slices are read side by side, so an odd one out is to be expected by chance."
    )
    return tuple(notes)


def _unfinished(training: TrainingReport) -> bool:
    """Whether its last evaluation was the best one, and the number of epochs ended it."""
    last = len(training.curve) - 1
    return training.stopped == "epochs" and last > 0 and best_of(training.curve, training.metric) == last


def amount(entry: Difference, digits: int = 4) -> str:
    """`+0.0253 (95 % interval +0.0210 to +0.0301)`."""
    if entry.difference is None:
        return "not defined"
    text = f"{entry.difference:+.{digits}f}"
    if entry.lower is None or entry.upper is None:
        return f"{text} (no interval)"
    return f"{text} ({entry.level:.0%} interval {entry.lower:+.{digits}f} to {entry.upper:+.{digits}f})".replace(
        "%", " %"
    )


def _headline(overall: Difference, candidate: str, baseline: str) -> str:
    if overall.difference is None:
        return f"{candidate} and {baseline} cannot be compared in mean AUC: a task lacks a class in the test rows."
    means = f"mean AUC {overall.candidate:.4f} against {overall.baseline:.4f}, {amount(overall)}"
    if overall.outcome in ("unclear", "unknown"):
        return f"{candidate} and {baseline} cannot be told apart: {means}."
    return f"{candidate} {_OUTCOMES[overall.outcome]} than {baseline}: {means}."


def _by_task(tasks: Sequence[Difference]) -> str:
    parts = []
    for outcome, words in (("better", "Better on"), ("worse", "worse on"), ("unclear", "no clear difference on")):
        named = [f"{entry.task} ({entry.difference:+.4f})" for entry in tasks if entry.outcome == outcome]
        if named:
            parts.append(f"{words} {_listed(named)}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _beside(comparison: Comparison) -> list[str]:
    words = {"gauc": "Order within users (mean GAUC)", "log_loss": "Mean log loss", "ece": "Mean calibration error"}
    sentences = []
    for metric, name in words.items():
        for entry in _of(comparison, metric, ALL):
            if entry.task != MEAN or entry.difference is None:
                continue
            verb = {"better": "is better", "worse": "is worse", "unclear": "is not clearly different"}
            sentences.append(f"{name} {verb.get(entry.outcome, 'has no interval')}: {amount(entry)}.")
    return sentences


def _of(comparison: Comparison, metric: str, slice_name: str) -> list[Difference]:
    return [
        entry
        for entry in comparison.differences
        if (entry.metric, entry.slice, entry.method) == (metric, slice_name, "bootstrap")
    ]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
