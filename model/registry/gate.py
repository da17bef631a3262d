"""The gate: what a candidate's comparison with the baseline must show before the candidate is registered. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from model.errors import MgoeError
from model.evaluation.comparison import Comparison


class GateRefused(MgoeError):  # noqa: N818  a verdict, not an error
    """The candidate is not good enough: nothing is broken, and nothing of it was registered. Exit code 3.

    A code of its own lets a pipeline tell a refusal from wrong input (2) and from a fault (1).
    """

    exit_code = 3


class Gate(BaseModel):
    """Thresholds on the whole test slice. A rule that the comparison has no number for counts as broken."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_mean_auc_lift: Annotated[float, Field(ge=-1, le=1)] = 0.0
    """The lower end of the interval of the lift in mean AUC (candidate minus baseline) must be above this. At 0 the
    candidate must be better by more than chance; a negative value asks only that it is not worse by more."""

    max_task_auc_loss: Annotated[float, Field(ge=0, le=1)] = 0.005
    """No task's AUC may fall by more than this, whatever the mean gains; 0 forbids any fall."""

    max_ece: Annotated[float, Field(ge=0, le=1)] | None = 0.05
    """No task's expected calibration error, of the candidate, may be above this: scores are combined by utility
    weights, so they must mean probabilities. None: not asked."""

    required_tasks: tuple[str, ...] = ()
    """Tasks that the comparison must hold with a defined AUC. A task that is not named here and has no AUC (a class is
    missing in the test slice) is passed over."""

    move_baseline: Literal["with_candidate", "always"] = "with_candidate"
    """Whether the alias `baseline` goes to a new baseline although its candidate was refused. By default it stays with
    the version that is live: nobody asked to replace that one."""


def check(comparison: Comparison, gate: Gate) -> list[str]:
    """The rules that the comparison breaks, each in words with its numbers; empty where the candidate passes."""
    return [
        *_required_tasks(comparison, gate),
        *_mean_auc(comparison, gate),
        *_task_auc(comparison, gate),
        *_calibration(comparison, gate),
    ]


def refuse_if_broken(comparison: Comparison, gate: Gate) -> None:
    """Raises GateRefused, one line with all broken rules, unless the candidate passes."""
    broken = check(comparison, gate)
    if broken:
        raise GateRefused(f"candidate {comparison.candidate.name} is not registered: {'; '.join(broken)}")


def _required_tasks(comparison: Comparison, gate: Gate) -> list[str]:
    broken = []
    for task in gate.required_tasks:
        if task not in comparison.tasks:
            broken.append(f"task {task!r} is required, and the comparison holds only {', '.join(comparison.tasks)}")
        elif comparison.find("auc", task).difference is None:
            broken.append(f"task {task!r} is required, and its AUC is undefined on the test slice")
    return broken


def _mean_auc(comparison: Comparison, gate: Gate) -> list[str]:
    lift = comparison.find("auc")
    if lift.difference is None or lift.lower is None or lift.upper is None:
        return ["mean AUC has no interval, so its lift is not shown"]
    if lift.lower > gate.min_mean_auc_lift:
        return []
    return [
        f"mean AUC lift {lift.difference:+.4f} has its {lift.level:.0%} interval [{lift.lower:+.4f}, {lift.upper:+.4f}]"
        f" start at or below {gate.min_mean_auc_lift:+.4f}"
    ]


def _task_auc(comparison: Comparison, gate: Gate) -> list[str]:
    broken = []
    for task in comparison.tasks:
        auc = comparison.find("auc", task)
        if auc.difference is not None and auc.difference < -gate.max_task_auc_loss:
            broken.append(
                f"AUC of {task} falls by {-auc.difference:.4f} ({auc.baseline:.4f} to {auc.candidate:.4f}),"
                f" more than {gate.max_task_auc_loss:.4f}"
            )
    return broken


def _calibration(comparison: Comparison, gate: Gate) -> list[str]:
    if gate.max_ece is None:
        return []
    broken = []
    for task in comparison.tasks:
        error = comparison.find("ece", task).candidate
        if error is not None and error > gate.max_ece:
            broken.append(f"expected calibration error of {task} is {error:.4f}, above {gate.max_ece:.4f}")
    return broken
