"""Weighted sums over macro neighbours, computed from sparse edges and exactly equal to the dense softmax.

Weights (MacGNN): a = softmax_k(log(N[k] + 1) / tau) over the K real macro nodes. With p_k = (N_k + 1)^(1/tau):

    sum_k a_k e_k = [sum_nnz (p_k - 1) e_k + sum_all e_k] / [sum_nnz (p_k - 1) + K]

and p_k - 1 is 0 for an edge that is padded or cut. Every power is taken relative to the row's largest, so that a small
tau cannot overflow. Legend: B rows, R = B T, k kept edges, K macro nodes, N = K + 1 (node 0 = padding), T tasks,
D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from model.nets.config import MacroOptions
from model.nets.interface import EdgeBatch

SPARSE_FACTOR = 8
"""Edges are gathered when k times this is below K; else one dense product is quicker (benchmarks/speed/nets.py)."""


@dataclass(frozen=True)
class EdgeWeights:
    """weight_Bk: of the kept edges, above the base. base_B: of every real macro node. The sum over macro nodes is 1."""

    macro_Bk: Tensor
    weight_Bk: Tensor
    base_B: Tensor
    padding_node: bool = False


def edge_weights(edges: EdgeBatch, n_macro: int, options: MacroOptions) -> EdgeWeights:
    """Softmax weights in sparse form. With mask_zero nodes without a count weigh nothing (all 0 where none has one)."""
    log_power_Bk = edges.log_count_Bk.float() / options.tau
    top_B1 = log_power_Bk.amax(dim=1, keepdim=True)
    power_Bk = (log_power_Bk - top_B1).exp()
    if options.mask_zero:
        power_Bk = power_Bk * (edges.log_count_Bk > 0)
        total_B1 = power_Bk.sum(dim=1, keepdim=True)
        return EdgeWeights(edges.macro_Bk, power_Bk / total_B1.clamp(min=1e-12), torch.zeros_like(total_B1[:, 0]))
    one_B1 = (-top_B1).exp()
    above_Bk = power_Bk - one_B1
    counted = n_macro + 1 if options.padding_node else n_macro
    total_B1 = above_Bk.sum(dim=1, keepdim=True) + counted * one_B1
    return EdgeWeights(edges.macro_Bk, above_Bk / total_B1, (one_B1 / total_B1)[:, 0], options.padding_node)


def dense_weights(weights: EdgeWeights, n_macro: int) -> Tensor:
    """[B, N] weights of all macro nodes; column 0 is 0 unless the padding node counts."""
    base_B1 = weights.base_B.unsqueeze(1)
    dense_BN = base_B1.repeat(1, n_macro + 1).scatter_add_(1, weights.macro_Bk, weights.weight_Bk)
    if not weights.padding_node:
        dense_BN[:, 0] = 0
    return dense_BN


def aggregate(weights: EdgeWeights, table_NTD: Tensor) -> Tensor:
    """sum_k a_k e_k for every task's table at once: [B, T, D]. Cost does not depend on node degrees."""
    nodes, tasks, dim = table_NTD.shape
    table_ND = table_NTD.reshape(nodes, tasks * dim)
    if weights.macro_Bk.shape[1] * SPARSE_FACTOR < nodes:
        summed_BD = functional.embedding_bag(
            weights.macro_Bk, table_ND, mode="sum", per_sample_weights=weights.weight_Bk
        )
        counted_ND = table_ND if weights.padding_node else table_ND[1:]
        summed_BD = torch.addmm(summed_BD, weights.base_B.unsqueeze(1), counted_ND.sum(dim=0, keepdim=True))
    else:
        summed_BD = dense_weights(weights, nodes - 1) @ table_ND
    return summed_BD.view(-1, tasks, dim)


def task_weights(macro_Bk: Tensor, log_count_BkT: Tensor, n_macro: int, options: MacroOptions) -> EdgeWeights:
    """Softmax weights of every task's own counts at the same macro nodes: R rows, the tasks of a row in turn."""
    _, kept, tasks = log_count_BkT.shape
    macro_Rk = macro_Bk.repeat_interleave(tasks, dim=0)
    return edge_weights(EdgeBatch(macro_Rk, log_count_BkT.mT.reshape(-1, kept)), n_macro, options)


def aggregate_by_task(weights: EdgeWeights, table_NTD: Tensor) -> Tensor:
    """sum_k a^t_k e^t_k, every task's weights on its own table: [B, T, D]. weights: R rows, as of task_weights."""
    nodes, tasks, dim = table_NTD.shape
    table_TND = table_NTD.transpose(0, 1)
    if weights.macro_Bk.shape[1] * SPARSE_FACTOR >= nodes:
        weight_BTN = dense_weights(weights, nodes - 1).view(-1, tasks, nodes)
        return torch.bmm(weight_BTN.transpose(0, 1), table_TND).transpose(0, 1)
    rows = weights.macro_Bk.shape[0] // tasks
    first_R = torch.arange(0, tasks * nodes, nodes, device=weights.macro_Bk.device).repeat(rows)
    summed_RD = functional.embedding_bag(
        weights.macro_Bk + first_R.unsqueeze(1),
        table_TND.reshape(-1, dim),
        mode="sum",
        per_sample_weights=weights.weight_Bk,
    )
    counted_TND = table_TND if weights.padding_node else table_TND[:, 1:]
    return summed_RD.view(-1, tasks, dim) + weights.base_B.view(-1, tasks, 1) * counted_TND.sum(dim=1)
