"""From per-task probabilities to the one score that candidates are ordered by. Legend: N candidates, T tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from model.errors import UserError

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


def expected_utility(probability_NT: Float32, weight_T: Float64, given: Sequence[int | None]) -> Float32:
    """sum_t w_t P(t happens), float32 [N].

    A conditional task's probability holds only where its condition does (`given`, the task's index, an earlier one),
    so the chance that it happens is its own times that of the condition.
    """
    happens_TN = probability_NT.T.astype(np.float64, order="C")
    # Column by column in float64, not a matrix product: BLAS may round a row differently in another batch.
    score_N = np.zeros(len(probability_NT), dtype=np.float64)
    for task, condition in enumerate(given):
        if condition is not None:
            happens_TN[task] *= happens_TN[condition]
        if weight_T[task]:
            score_N += happens_TN[task] * weight_T[task]
    return score_N.astype(np.float32)


def weights_of(utility: Mapping[str, float] | None, tasks: Sequence[str]) -> dict[str, float]:
    """A weight for every task: 1 each by default, 0 for the tasks that a given mapping leaves out.

    Raises UserError on an unknown task, a weight that is no finite number, or no weight other than 0.
    """
    if utility is None:
        return dict.fromkeys(tasks, 1.0)
    unknown = [task for task in utility if task not in tasks]
    if unknown:
        raise UserError(f"utility names {unknown[0]!r}, which is no task; tasks are: {', '.join(tasks)}")
    for task, weight in utility.items():
        if not np.isfinite(weight):
            raise UserError(f"utility of {task} is {weight}; give a finite number")
    if not any(utility.values()):
        raise UserError("utility has no weight other than 0, so it orders nothing; weigh one task at least")
    return {task: float(utility.get(task, 0.0)) for task in tasks}
