"""Labels of conditional tasks on the entire space."""

from __future__ import annotations

from dataclasses import replace

import torch

from model.nets.node_store import NodeStore
from model.training.space import on_entire_space
from tests.model.training.tiny_world import tiny_dataset

ROWS = NodeStore.of(tiny_dataset(), None).rows(tiny_dataset().train)


def test_outside_its_condition_a_task_is_observed_and_zero() -> None:
    labels = torch.tensor([[0, 1], [1, 1], [1, 0], [1, 1], [0, 1]], dtype=torch.uint8)
    observed = torch.tensor([[True, False], [True, True], [True, True], [True, False], [False, False]])
    found = on_entire_space(replace(ROWS, labels_NT=labels, observed_NT=observed), (None, 0))
    assert found.observed_NT[:, 1].tolist() == [True, True, True, False, False]
    assert found.labels_NT[:3, 1].tolist() == [0, 1, 0]


def test_rows_of_a_history_that_lacks_a_task_are_no_negatives_of_it() -> None:
    clicks = [0, 1, 0, 1, 0, 0, 1, 0, 0, 1, 1]  # five rows of the history, then the log's own
    likes_seen = [False] * 5 + [False, True, False, False, True, False]
    labels = torch.tensor([clicks, [0] * 6 + [1] + [0] * 4], dtype=torch.uint8).T
    observed = torch.tensor([[True] * 11, likes_seen]).T
    found = on_entire_space(replace(ROWS, labels_NT=labels, observed_NT=observed), (None, 0))
    assert found.observed_NT[:, 0].all()
    # The last row of the history stays: nothing tells it from one of the log. The log's last has no label yet.
    assert found.observed_NT[:, 1].tolist() == [False] * 4 + [True] * 6 + [False]


def test_zeros_that_a_history_wrote_where_the_condition_fails_are_no_negatives_either() -> None:
    clicks = [0, 1, 0, 1, 0, 1, 0]  # four rows of the history: no likes of its clicks, zeros beside them
    labels = torch.tensor([clicks, [0, 0, 0, 0, 0, 1, 0]], dtype=torch.uint8).T
    observed = torch.tensor([[True] * 7, [True, False, True, False, True, True, True]]).T
    found = on_entire_space(replace(ROWS, labels_NT=labels, observed_NT=observed), (None, 0))
    assert found.observed_NT[:, 1].tolist() == [False] * 4 + [True] * 3


def test_a_task_that_no_row_has_is_not_learnt_from_zeros() -> None:
    labels = torch.tensor([[1, 0], [0, 0], [1, 0]], dtype=torch.uint8)
    observed = torch.tensor([[True, False]] * 3)
    found = on_entire_space(replace(ROWS, labels_NT=labels, observed_NT=observed), (None, 0))
    assert not found.observed_NT[:, 1].any()


def test_a_chain_of_conditions_multiplies_in_any_order_of_tasks() -> None:
    labels = torch.tensor([[1, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=torch.uint8)
    observed = torch.ones(3, 3, dtype=torch.bool)
    found = on_entire_space(replace(ROWS, labels_NT=labels, observed_NT=observed), (1, 2, None))
    assert found.labels_NT.tolist() == [[1, 1, 1], [0, 0, 1], [0, 0, 0]]


def test_tasks_without_a_condition_stay_as_they_are() -> None:
    found = on_entire_space(ROWS, (None, None))
    assert torch.equal(found.labels_NT, ROWS.labels_NT)
    assert torch.equal(found.observed_NT, ROWS.observed_NT)
