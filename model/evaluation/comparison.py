"""What a comparison of two evaluations says; the registry's gate and the report read it from `comparison.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.errors import UserError

COMPARISON_NAME = "comparison.json"
MEAN = "mean"
"""Name that stands for the mean over all tasks where a task's name is expected."""
ALL = "all"
"""Name of the slice that holds every test row."""

Metric = Literal["auc", "gauc", "log_loss", "ece"]
Method = Literal["bootstrap", "delong"]
Outcome = Literal["better", "worse", "unclear", "unknown"]
HIGHER_IS_BETTER: dict[Metric, bool] = {"auc": True, "gauc": True, "log_loss": False, "ece": False}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Difference(_Strict):
    """Candidate minus baseline in one metric, for one task (or `mean`), on one slice, both on the same rows.

    Numbers are None where the slice does not define them (a class is missing, too few rows). lower, upper: the interval
    of the difference at `level`. n: rows with a known label (of any task where task is `mean`). users: who they are of.
    method: `bootstrap` resamples users with all their rows; `delong` (AUC only) takes rows as independent.
    """

    metric: Metric
    task: str
    slice: str
    baseline: float | None
    candidate: float | None
    difference: float | None
    lower: float | None
    upper: float | None
    level: Annotated[float, Field(gt=0, lt=1)]
    n: Annotated[int, Field(ge=0)]
    users: Annotated[int, Field(ge=0)]
    method: Method = "bootstrap"

    @property
    def outcome(self) -> Outcome:
        """`better` or `worse` where the interval excludes 0, `unclear` where it holds it, `unknown` without one."""
        if self.lower is None or self.upper is None:
            return "unknown"
        if self.lower <= 0 <= self.upper:
            return "unclear"
        return "better" if (self.lower > 0) == HIGHER_IS_BETTER[self.metric] else "worse"


class Arm(_Strict):
    """One side of the comparison: its name for people (the architecture) and the digests that lead back to it."""

    name: str
    model_digest: str
    evaluation_digest: str


class Comparison(_Strict):
    """Candidate against baseline on the same test rows, paired.

    verdict: which is better, on what and by how much, in words. uncertain: what the numbers do not settle, in words.
    """

    version: Literal[1] = 1
    baseline: Arm
    candidate: Arm
    log_digest: str
    tasks: tuple[str, ...]
    slices: tuple[str, ...]
    rows: int
    users: int
    level: float
    replicates: int
    seed: int
    differences: tuple[Difference, ...]
    verdict: str = ""
    uncertain: tuple[str, ...] = ()

    def find(self, metric: Metric, task: str = MEAN, slice: str = ALL, method: Method = "bootstrap") -> Difference:  # noqa: A002
        """The difference of that metric, task and slice. Raises UserError, naming what there is, where it is absent."""
        for entry in self.differences:
            if (entry.metric, entry.task, entry.slice, entry.method) == (metric, task, slice, method):
                return entry
        raise UserError(
            f"the comparison holds no {metric} of task {task!r} on slice {slice!r} ({method}); "
            f"tasks: {', '.join((*self.tasks, MEAN))}; slices: {', '.join(self.slices)}"
        )


def read_comparison(folder: Path) -> Comparison:
    """Read `comparison.json` of a comparison artifact. Raises UserError where it is missing or malformed."""
    path = folder / COMPARISON_NAME
    try:
        return Comparison.model_validate_json(path.read_bytes())
    except FileNotFoundError as missing:
        raise UserError(f"no comparison at {folder}: {COMPARISON_NAME} is missing") from missing
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path} is not a comparison: field {field!r}: {first['msg']}") from error
