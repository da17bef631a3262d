"""Labels of conditional tasks on the entire space. Source: ESMM (Ma et al., SIGIR 2018)."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from model.nets.node_store import Rows


def on_entire_space(rows: Rows, given: tuple[int | None, ...]) -> Rows:
    """The same rows, every conditional task labelled by the product: its condition held, and then the task itself.

    Where the condition is known not to hold, the label is 0 and observed; where it holds, the task's own. Rows of a
    history that lacks the task are left out of it: they could add zeros alone, even where it wrote zeros itself. Labels
    that come late, at the end of the rows, are not seen to lack (docs/known-issues.md). rows: oldest first. given: per
    task the index of its condition, or None (model.nets.interface.InputSpec).
    """
    label: dict[int, Tensor] = {}
    observed: dict[int, Tensor] = {}

    def resolve(task: int) -> None:
        if task in label:
            return
        own_N, seen_N = rows.labels_NT[:, task], rows.observed_NT[:, task]
        condition = given[task]
        if condition is None:
            label[task], observed[task] = own_N, seen_N
            return
        resolve(condition)
        holds_N = label[condition] > 0
        label[task] = own_N * holds_N * seen_N
        observed[task] = observed[condition] & (~holds_N | seen_N)
        observed[task][: _rows_that_lack(holds_N, seen_N)] = False

    labels_NT, observed_NT = rows.labels_NT.clone(), rows.observed_NT.clone()
    for task in range(len(given)):
        resolve(task)
        labels_NT[:, task], observed_NT[:, task] = label[task], observed[task]
    return replace(rows, labels_NT=labels_NT, observed_NT=observed_NT)


def _rows_that_lack(holds_N: Tensor, seen_N: Tensor) -> int:
    """How many rows at the beginning lack a task: up to the last one whose condition held, before the first such row
    that has its label."""
    told = (holds_N & seen_N).nonzero()
    first = int(told[0]) if len(told) else len(seen_N)
    missed = holds_N[:first].nonzero()
    return int(missed[-1]) + 1 if len(missed) else 0
