"""The feed: every row once an epoch, in an order that the seed and the epoch decide, shared out without overlap."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.nets.node_store import NodeStore, Rows
from model.training.feed import MemoryFeed, row_order
from tests.model.training.tiny_world import tiny_dataset

DATASET = tiny_dataset(rows=120)
STORE = NodeStore.of(DATASET, None)
ROWS = STORE.rows(DATASET.train)


def feed(batch_size: int, rank: int = 0, size: int = 1, rows: Rows = ROWS) -> MemoryFeed:
    return MemoryFeed(
        STORE, rows, batch_size=batch_size, seed=3, loss_weights_T=torch.tensor([1.0, 2.0]), rank=rank, size=size
    )


@given(st.integers(0, 50), st.integers(0, 5), st.integers(0, 5))
def test_the_order_is_a_permutation_that_seed_and_epoch_decide(n_rows: int, seed: int, epoch: int) -> None:
    order = row_order(n_rows, seed, epoch)
    assert sorted(order.tolist()) == list(range(n_rows))
    assert order.tolist() == row_order(n_rows, seed, epoch).tolist()


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {tuple(row_order(30, seed, epoch).tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 100), st.integers(0, 4))
def test_an_epoch_entered_late_goes_on_as_if_it_had_been_read_from_its_start(batch_size: int, first: int) -> None:
    one = feed(batch_size)
    whole = list(one.epoch(1, 0))
    rest = list(one.epoch(1, min(first, len(whole))))
    assert len(whole) == one.steps_per_epoch
    for late, early in zip(rest, whole[first:], strict=True):
        assert torch.equal(late.labels_BT, early.labels_BT)
        assert torch.equal(late.batch.user.id_B, early.batch.user.id_B)


@settings(deadline=None, max_examples=25)
@given(st.integers(4, 100), st.integers(1, 4))
def test_weighted_losses_of_all_workers_average_to_those_of_one(batch_size: int, size: int) -> None:
    alone = list(feed(batch_size).epoch(0, 0))
    shares = [list(feed(batch_size, rank, size).epoch(0, 0)) for rank in range(size)]
    for step in range(len(shares[0])):
        wanted = (alone[step].labels_BT * alone[step].weight_BT).sum()
        found = torch.stack([(share[step].labels_BT * share[step].weight_BT).sum() for share in shares]).mean()
        torch.testing.assert_close(found, wanted)
        assert sum(len(share[step].labels_BT) for share in shares) == alone[step].rows


def test_a_tasks_weights_sum_to_its_lambda_and_skip_the_unobserved() -> None:
    for step in feed(16).epoch(0, 0):
        torch.testing.assert_close(step.weight_BT.sum(0), torch.tensor([1.0, 2.0]))
    for step, observed in ((step, step.weight_BT > 0) for step in feed(16).epoch(0, 0)):
        assert not (step.labels_BT.bool() & ~observed).any()  # buy is 1 on clicked, hence observed, rows only


def test_a_last_step_with_fewer_rows_than_workers_is_left_out() -> None:
    assert feed(len(ROWS) - 1).steps_per_epoch == 2
    assert feed(len(ROWS) - 1, size=2).steps_per_epoch == 1
