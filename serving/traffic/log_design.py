"""An experiment's metrics from a log's tasks. Pure.

| task | metric | kind |
|---|---|---|
| weakest | TASK_per_exposure: the primary (PCTR where it is the click) | ratio to exposures |
| weakest | TASK_units: share of units with one (UCTR) | proportion |
| other entire-space | TASK_per_exposure | ratio to exposures |
| conditional | TASK_per_GIVEN (CVR), once its window has closed | ratio to the given task |
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from model.data.schema import LogSchema, Task
from model.errors import UserError
from serving.experiment.design import EXPOSURES, Design, Metric
from serving.experiment.document import ExperimentError
from serving.gateway.assignment import check_salt

MOST_CANDIDATES = 1000
"""Of one request: the most that one outcome event, which counts the items of a list, may be worth."""


@dataclass(frozen=True)
class DesignOptions:
    """What a log does not say."""

    experiment: str
    salt: str
    baseline_digest: str
    candidate_digest: str
    maturity_s: float = 60.0
    """Window of conditional tasks."""
    planned_units: int = 10_000
    slice_s: float = 86_400.0
    burn_in: int = 100


def metrics_of(schema: LogSchema, maturity_s: float = 60.0) -> tuple[Metric, ...]:
    """The metrics of a log with these tasks. Raises UserError where two tasks would have one name."""
    metrics = tuple(_metrics(schema, maturity_s))
    names = [metric.name for metric in metrics]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"log {schema.name}: two of its tasks make the metric {twice!r}; rename one")
    return metrics


def design_of(schema: LogSchema, options: DesignOptions) -> Design:
    """The experiment. Raises UserError for a name that no gateway takes, and where its parts contradict each other."""
    check_salt(options.experiment)
    check_salt(options.salt)
    try:
        return Design(
            experiment=options.experiment,
            salt=options.salt,
            baseline_digest=options.baseline_digest,
            candidate_digest=options.candidate_digest,
            metrics=metrics_of(schema, options.maturity_s),
            planned_units=options.planned_units,
            slice_s=options.slice_s,
            burn_in=options.burn_in,
        )
    except ExperimentError as error:
        raise UserError(str(error)) from None


def registration(design: Design, schema: LogSchema) -> dict[str, Any]:
    """The body of `POST /v1/experiments`: the design, and bounds of every outcome."""
    bounds = {name: {"lowest": 0, "highest": MOST_CANDIDATES} for name in schema.task_names}
    return {"design": design.to_json(), "bounds": bounds}


def rollout_metrics(metrics: tuple[Metric, ...]) -> list[dict[str, Any]]:
    """The same metrics as `spec.metrics` of a ModelRollout."""
    return [
        {
            "name": metric.name,
            "kind": metric.kind.capitalize(),
            "value": metric.value,
            **({} if metric.denominator is None else {"denominator": metric.denominator}),
            **({} if not metric.maturity_s else {"maturitySeconds": round(metric.maturity_s)}),
            "role": metric.role.capitalize(),
        }
        for metric in metrics
    ]


def _metrics(schema: LogSchema, maturity_s: float) -> Iterator[Metric]:
    first, *others = schema.tasks
    yield Metric(_name(first, "per_exposure"), "ratio", first.name, denominator=EXPOSURES)
    yield Metric(_name(first, "units"), "proportion", first.name, role="secondary")
    for task in others:
        if task.given is None:
            yield Metric(_name(task, "per_exposure"), "ratio", task.name, denominator=EXPOSURES, role="secondary")
        else:
            name = _name(task, f"per_{task.given}")
            yield Metric(name, "ratio", task.name, denominator=task.given, maturity_s=maturity_s, role="secondary")


def _name(task: Task, rest: str) -> str:
    """A name that a ModelRollout takes too: small letters, digits, dashes, underscores."""
    parts = (re.sub(r"[^a-z0-9_-]+", "_", part.lower()).strip("_-") for part in (task.name, rest))
    return "_".join(part for part in parts if part)
