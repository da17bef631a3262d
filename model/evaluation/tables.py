"""Tables of an evaluation and of a comparison for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from model.evaluation.comparison import ALL, HIGHER_IS_BETTER, MEAN, Comparison, Difference
from model.evaluation.measurement import Measurement
from model.evaluation.report import METRIC_WORDS, OUTCOME_WORDS

_HEADS = {"auc": "AUC", "gauc": "GAUC", "log_loss": "log loss", "ece": "ECE", "calibration": "pred./obs."}
_STYLES = {"better": "green", "worse": "red", "unclear": "dim", "unknown": "dim"}


def comparison_table(comparison: Comparison) -> Table:
    """Tasks by metrics on all test rows: difference, interval, outcome."""
    table = Table(title=f"{comparison.candidate.name} minus {comparison.baseline.name}, {comparison.rows} test rows")
    table.add_column("task")
    for metric in HIGHER_IS_BETTER:
        table.add_column(_HEADS[metric], justify="right", min_width=11)
    for task in (*comparison.tasks, MEAN):
        table.add_row(task, *(_difference(comparison.find(metric, task)) for metric in HIGHER_IS_BETTER))
    return table


def slice_table(comparison: Comparison) -> Table:
    """Mean AUC by slice: rows, both values, difference."""
    table = Table(title="Mean AUC by slice")
    for column in ("slice", "rows", "baseline", "candidate", "difference"):
        table.add_column(column, justify="left" if column == "slice" else "right")
    for name in comparison.slices:
        entry = comparison.find("auc", slice=name)
        table.add_row(name, str(entry.n), _fixed(entry.baseline), _fixed(entry.candidate), _difference(entry))
    return table


def evaluation_table(measurements: Sequence[Measurement], tasks: Sequence[str]) -> Table:
    """Tasks by metrics on all test rows: value and interval."""
    found = {(entry.metric, entry.task): entry for entry in measurements if _is_headline(entry)}
    table = Table(title="All test rows")
    table.add_column("task")
    for metric in METRIC_WORDS:
        table.add_column(_HEADS[metric], justify="right", min_width=11)
    for task in (*tasks, MEAN):
        table.add_row(task, *(_value(found[metric, task]) for metric in METRIC_WORDS))
    return table


def _is_headline(entry: Measurement) -> bool:
    return entry.slice == ALL and entry.method == "bootstrap"


def _value(entry: Measurement) -> str:
    return f"{_fixed(entry.value)}\n[dim]{_short(entry.lower)}–{_short(entry.upper)}"


def _difference(entry: Difference) -> str:
    if entry.difference is None:
        return "–"
    mark, style = OUTCOME_WORDS[entry.outcome][0], _STYLES[entry.outcome]
    if entry.lower is None or entry.upper is None:
        return f"[{style}]{mark} {entry.difference:+.4f}"
    return f"[{style}]{mark} {entry.difference:+.4f}[/]\n[dim]{_short(entry.lower, '+')} {_short(entry.upper, '+')}"


def _short(number: float | None, sign: str = "") -> str:
    """Four places without the leading zero, so that an interval fits a column."""
    return "–" if number is None else f"{number:{sign}.4f}".replace("0.", ".", 1)


def _fixed(number: float | None) -> str:
    return "–" if number is None else f"{number:.4f}"
