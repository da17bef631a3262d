"""Weighted sums over macro neighbours, computed from sparse edges and exactly equal to the dense softmax.

Weights (MacGNN): a = softmax_k(log(N[k] + 1) / tau) over the K real macro nodes. With p_k = (N_k + 1)^(1/tau):

    sum_k a_k e_k = [sum_nnz (p_k - 1) e_k + sum_all e_k] / [sum_nnz (p_k - 1) + K]

and p_k - 1 is 0 for an edge that is padded or cut. Every power is taken relative to the row's largest, so that a small
tau cannot overflow. Legend: B rows, k kept edges, K macro nodes, N = K + 1 (node 0 = padding), T tasks, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from model.nets.interface import EdgeBatch

SPARSE_FACTOR = 8
"""Edges are gathered when k times this is below K; else one dense product is quicker (benchmarks/speed_nets.py)."""


@dataclass(frozen=True)
class EdgeWeights:
    """weight_Bk: of the kept edges, above the base. base_B: of every real macro node. Their sum over K is 1."""

    macro_Bk: Tensor
    weight_Bk: Tensor
    base_B: Tensor


def edge_weights(edges: EdgeBatch, n_macro: int, tau: float, mask_zero: bool) -> EdgeWeights:
    """Softmax weights in sparse form. With mask_zero nodes without a count weigh nothing (all 0 where none has one)."""
    log_power_Bk = edges.log_count_Bk.float() / tau
    top_B1 = log_power_Bk.amax(dim=1, keepdim=True)
    power_Bk = (log_power_Bk - top_B1).exp()
    if mask_zero:
        power_Bk = power_Bk * (edges.log_count_Bk > 0)
        total_B1 = power_Bk.sum(dim=1, keepdim=True)
        return EdgeWeights(edges.macro_Bk, power_Bk / total_B1.clamp(min=1e-12), torch.zeros_like(top_B1.squeeze(1)))
    one_B1 = (-top_B1).exp()
    above_Bk = power_Bk - one_B1
    total_B1 = above_Bk.sum(dim=1, keepdim=True) + n_macro * one_B1
    return EdgeWeights(edges.macro_Bk, above_Bk / total_B1, (one_B1 / total_B1).squeeze(1))


def dense_weights(weights: EdgeWeights, n_macro: int) -> Tensor:
    """[B, N] weights of all macro nodes; column 0 is 0."""
    dense_BN = weights.base_B.unsqueeze(1).repeat(1, n_macro + 1)
    dense_BN.scatter_add_(1, weights.macro_Bk, weights.weight_Bk)
    dense_BN[:, 0] = 0
    return dense_BN


def aggregate(weights: EdgeWeights, table_NTD: Tensor) -> Tensor:
    """sum_k a_k e_k for every task's table at once: [B, T, D]. Cost does not depend on node degrees."""
    nodes, tasks, dim = table_NTD.shape
    table_ND = table_NTD.reshape(nodes, tasks * dim)
    if weights.macro_Bk.shape[1] * SPARSE_FACTOR < nodes:
        summed_BD = F.embedding_bag(weights.macro_Bk, table_ND, mode="sum", per_sample_weights=weights.weight_Bk)
        summed_BD = torch.addmm(summed_BD, weights.base_B.unsqueeze(1), table_ND[1:].sum(dim=0, keepdim=True))
    else:
        summed_BD = dense_weights(weights, nodes - 1) @ table_ND
    return summed_BD.view(-1, tasks, dim)
