"""Sparse softmax over macro edges. Legend: B rows, k kept edges, K macro nodes, N = K + 1, T tasks, D width."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.nets.aggregation import (
    EdgeWeights,
    aggregate,
    aggregate_by_task,
    dense_weights,
    edge_weights,
    task_weights,
)
from model.nets.config import MacroOptions
from model.nets.interface import EdgeBatch
from tests.model.nets.batches import edges_of, task_counts_of


def dense_softmax(edges: EdgeBatch, n_macro: int, options: MacroOptions) -> Tensor:
    """The formula of MacGNN over all K macro nodes, in float64: [B, N]."""
    count_BN = torch.zeros(len(edges.macro_Bk), n_macro + 1, dtype=torch.float64)
    count_BN.scatter_(1, edges.macro_Bk, edges.log_count_Bk.double().expm1())
    count_BN[:, 0] = 0
    score_BN = (count_BN + 1).log() / options.tau
    if not options.padding_node:
        score_BN[:, 0] = float("-inf")
    if options.mask_zero:
        score_BN = score_BN.masked_fill(count_BN == 0, float("-inf"))
    return torch.softmax(score_BN, dim=1).nan_to_num().float()


@settings(max_examples=60, deadline=None)
@given(
    n_macro=st.integers(1, 150),
    kept=st.integers(1, 12),
    tau=st.sampled_from([0.02, 0.3, 1.0, 1.3, 5.0]),
    zero=st.sampled_from(["kept", "masked", "kept, with the padding node"]),
    seed=st.integers(0, 10_000),
)
def test_the_sparse_softmax_is_the_dense_one(n_macro: int, kept: int, tau: float, zero: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    edges = edges_of(n_macro, 9, generator, kept)
    options = MacroOptions(tau=tau, mask_zero=zero == "masked", padding_node=zero.endswith("padding node"))
    table_NTD = torch.randn(n_macro + 1, 2, 3, generator=generator)
    weights = edge_weights(edges, n_macro, options)
    expected_BN = dense_softmax(edges, n_macro, options)
    torch.testing.assert_close(dense_weights(weights, n_macro), expected_BN, atol=2e-6, rtol=1e-4)
    expected_BTD = torch.einsum("bn,ntd->btd", expected_BN, table_NTD)
    torch.testing.assert_close(aggregate(weights, table_NTD), expected_BTD, atol=1e-5, rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    n_macro=st.integers(1, 150),
    kept=st.integers(1, 12),
    tasks=st.integers(1, 4),
    zero=st.sampled_from(["kept", "masked", "kept, with the padding node"]),
    seed=st.integers(0, 10_000),
)
def test_every_task_is_aggregated_as_if_it_were_alone(
    n_macro: int, kept: int, tasks: int, zero: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    edges = edges_of(n_macro, 9, generator, kept)
    count_BkT = task_counts_of(edges, tasks, generator)
    options = MacroOptions(tau=0.7, mask_zero=zero == "masked", padding_node=zero.endswith("padding node"))
    table_NTD = torch.randn(n_macro + 1, tasks, 3, generator=generator)
    found_BTD = aggregate_by_task(task_weights(edges.macro_Bk, count_BkT, n_macro, options), table_NTD)
    for task in range(tasks):
        expected_BN = dense_softmax(EdgeBatch(edges.macro_Bk, count_BkT[:, :, task]), n_macro, options)
        torch.testing.assert_close(found_BTD[:, task], expected_BN @ table_NTD[:, task], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("n_macro", [6, 200])
def test_gathered_and_dense_products_give_equal_values_and_gradients(n_macro: int) -> None:
    edges = edges_of(n_macro, 8, torch.Generator().manual_seed(1), kept=3)
    weights = edge_weights(edges, n_macro, MacroOptions())
    table_NTD = torch.randn(n_macro + 1, 2, 4, requires_grad=True)
    direct_NTD = table_NTD.detach().clone().requires_grad_()
    summed_BTD = aggregate(weights, table_NTD)
    expected_BTD = torch.einsum("bn,ntd->btd", dense_weights(weights, n_macro), direct_NTD)
    out_BTD = torch.randn_like(summed_BTD)
    torch.autograd.backward((summed_BTD * out_BTD).sum())
    torch.autograd.backward((expected_BTD * out_BTD).sum())
    torch.testing.assert_close(summed_BTD, expected_BTD)
    torch.testing.assert_close(table_NTD.grad, direct_NTD.grad)


def test_a_cut_edge_changes_only_its_own_excess_weight() -> None:
    edges = EdgeBatch(torch.tensor([[2, 1, 3]]), torch.log1p(torch.tensor([[9.0, 4.0, 1.0]])))
    cut = EdgeBatch(edges.macro_Bk[:, :2], edges.log_count_Bk[:, :2])
    options = MacroOptions(tau=1.0)
    whole_N = dense_weights(edge_weights(edges, 4, options), 4)[0]
    cut_N = dense_weights(edge_weights(cut, 4, options), 4)[0]
    # tau = 1: powers are N + 1 = 5, 10, 2, 1 for the nodes 1 to 4; the cut edge falls from 2 to 1.
    torch.testing.assert_close(whole_N, torch.tensor([0, 5, 10, 2, 1.0]) / 18)
    torch.testing.assert_close(cut_N, torch.tensor([0, 5, 10, 1, 1.0]) / 17)


def test_a_node_without_edges_reads_all_macro_nodes_alike() -> None:
    none = EdgeBatch(torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 3))
    weights: EdgeWeights = edge_weights(none, 5, MacroOptions())
    torch.testing.assert_close(dense_weights(weights, 5)[0], torch.tensor([0, 0.2, 0.2, 0.2, 0.2, 0.2]))
    masked = edge_weights(none, 5, MacroOptions(mask_zero=True))
    assert dense_weights(masked, 5).abs().sum() == 0
