"""Tables of a finished benchmark: in the terminal, and as benchmarks/results/quality.{json,md}."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.quality.contenders import HISTORY, MICRO
from benchmarks.quality.measure import Gap, Measured, gap, measure
from benchmarks.quality.runs import Run
from benchmarks.results import machine_facts, write_results
from model.data.dataset import Dataset

Row = dict[str, Any]
Results = Mapping[tuple[str, str], Sequence[tuple[Run, npt.NDArray[np.float32]]]]
ABLATION = "ablation: "
BASELINES = ("mmoe", "trees", "mmoe_history", "trees_history")
SETTINGS = {"a": "plain fields", "b": "dense history features for all"}


def report(console: Console, dataset: Dataset, results: Results, draws: int, command: str) -> None:
    """Measures test rows, shows and writes every table."""
    measured = {key: measure(dataset, [scores for _, scores in runs], draws) for key, runs in results.items()}
    tables: dict[str, list[Row]] = {}
    for setting, words in SETTINGS.items():
        own = {name: value for (of, name), value in measured.items() if of == setting}
        if not own:
            continue
        runs = {name: [run for run, _ in values] for (of, name), values in results.items() if of == setting}
        models = [name for name in own if not name.startswith(ABLATION)]
        tasks = dataset.schema.task_names
        tables[f"({setting}) {words}: test AUC"] = [_row(name, own[name], tasks, "auc", runs[name]) for name in models]
        tables[f"({setting}) {words}: test GAUC"] = [_within(name, own[name], tasks) for name in models]
        tables[f"({setting}) paired differences in mean AUC, 95 % over {draws} draws of test users"] = _gaps(
            own, models
        )
        parts = [name for name in own if name.startswith(ABLATION)]
        if parts and "mgoe" in own:
            none = "" if ABLATION + MICRO in parts else " (the kept recipe reads no ids, so no micro neighbours)"
            tables[f"({setting}) MGOE without its parts{none}"] = _parts(own, parts)
    for title, rows in tables.items():
        _show(console, title, rows)
    path = write_results("quality", command, machine_facts(("torch", "numpy", "lightgbm")), tables)
    console.print(f"written to {path}")


def _row(name: str, value: Measured, tasks: Sequence[str], metric: str, runs: Sequence[Run] = ()) -> Row:
    row: Row = {"model": name}
    for task, mean, deviation in zip(tasks, value.mean(metric), value.deviation(metric), strict=True):
        row[task] = f"{mean:.4f} ± {deviation:.4f}"
    row["mean"] = "{:.4f} ± {:.4f}".format(*value.overall(metric))
    if runs:
        row["validation"] = f"{np.mean([run.mean for run in runs]):.4f}"
        row["s a run"] = round(float(np.mean([run.seconds for run in runs])))
    return row


def _within(name: str, value: Measured, tasks: Sequence[str]) -> Row:
    """GAUC, and beside it the mean GAUC within a user's day."""
    row = _row(name, value, tasks, "gauc")
    seeds = value.within_day.mean(axis=1)
    deviation = seeds.std(ddof=1) if len(seeds) > 1 else float("nan")
    return row | {"within a user's day": f"{seeds.mean():.4f} ± {deviation:.4f}"}


def _gaps(own: Mapping[str, Measured], models: Sequence[str]) -> list[Row]:
    rows = []
    for baseline in BASELINES:
        if baseline in own:
            rivals = [name for name in models if name != baseline and _meets(name, baseline)]
            rows += [_gap_row(name, baseline, gap(own[baseline], own[name])) for name in rivals]
    return rows


def _meets(name: str, baseline: str) -> bool:
    """Baselines that train on history rows meet those that do, too; all meet the plain ones."""
    return name in HISTORY or baseline not in HISTORY


def _gap_row(name: str, baseline: str, found: Gap) -> Row:
    return {
        "candidate": name,
        "baseline": baseline,
        "difference": f"{found.difference:+.4f}",
        "lower": f"{found.lower:+.4f}",
        "upper": f"{found.upper:+.4f}",
    }


def _parts(own: Mapping[str, Measured], parts: Sequence[str]) -> list[Row]:
    """Differences to the whole model over the same seeds."""
    rows = []
    for name in parts:
        seeds = own[name].values.shape[2]
        whole = Measured(own["mgoe"].values[:, :, :seeds], own["mgoe"].within_day[:seeds])
        found = gap(whole, own[name])
        row: Row = {"change": name.removeprefix(ABLATION), "mean AUC": "{:.4f}".format(own[name].overall("auc")[0])}
        row |= {key: value for key, value in _gap_row("", "", found).items() if key in ("difference", "lower", "upper")}
        rows.append(row)
    return rows


def _show(console: Console, title: str, rows: Sequence[Row]) -> None:
    table = Table(title=title, title_justify="left")
    for column in rows[0] if rows else ():
        table.add_column(column, justify="left" if column in ("model", "candidate", "baseline", "change") else "right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table)
