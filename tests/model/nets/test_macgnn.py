"""MacGNN equivalence: an independent transcription of the released code's formulas, with copied weights.

Of its NeighborAggregation only the value path is left: the released softmax runs over an axis of length one, so its
scores are all 1. Legend: B rows, K macro nodes with the padding one, D id width, P = 2 D, L recents.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from model.nets.id_table import IdTable
from model.nets.interface import Batch, EdgeBatch, NodeBatch
from model.nets.macgnn import MacGNN
from model.nets.mgoe import MGOE
from tests.model.nets.batches import GROUPS, batch_of, spec_of
from tests.model.nets.variants import build

TAU = 0.7
DIM = 6


@dataclass(frozen=True)
class Weights:
    """Of a MacGNN with a 14 D -> 200 -> 80 -> 1 net; linear maps as [outputs, inputs]."""

    user: Tensor
    item: Tensor
    user_macro: Tensor
    item_macro: Tensor
    user_value: Tensor
    item_value: Tensor
    layers: list[tuple[Tensor, Tensor]]
    alphas: list[Tensor]


def counts(edges: EdgeBatch, n_macro: int) -> Tensor:
    """What MacGNN reads: the count of every macro node, [B, K], that of the padding node being 0."""
    count_BK = torch.zeros(len(edges.macro_Bk), n_macro + 1)
    for row, (macro_k, log_count_k) in enumerate(zip(edges.macro_Bk, edges.log_count_Bk, strict=True)):
        for macro, log_count in zip(macro_k.tolist(), log_count_k.tolist(), strict=True):
            if macro > 0:
                count_BK[row, macro] = torch.tensor(log_count).expm1()
    return count_BK


def macro_sum(count_BK: Tensor, macro_KD: Tensor, value_PD: Tensor) -> Tensor:
    weight_BK1 = torch.softmax(torch.log(count_BK + 1) / TAU, dim=1).unsqueeze(-1)
    value_BKP = macro_KD.expand(len(count_BK), -1, -1) @ value_PD.T
    return (value_BKP * weight_BK1).sum(dim=1)


def recent_sum(recent_BL: Tensor, table_ND: Tensor, value_PD: Tensor) -> Tensor:
    return (table_ND[recent_BL] @ value_PD.T * (recent_BL > 0).unsqueeze(-1)).sum(dim=1)


def dice(x: Tensor, alpha: Tensor) -> Tensor:
    """With the moments of the batch, and no epsilon."""
    p = torch.sigmoid((x - x.mean(dim=0)) / x.std(dim=0))
    return x * p + alpha * x * (1 - p)


def macgnn(batch: Batch, w: Weights) -> Tensor:
    def side(node: NodeBatch, own: str, other: str) -> list[Tensor]:
        assert node.graph is not None
        sizes = {"user": GROUPS.n_user_groups, "item": GROUPS.n_item_groups}
        macro, value = {"user": w.user_macro, "item": w.item_macro}, {"user": w.user_value, "item": w.item_value}
        table = {"user": w.user, "item": w.item}
        return [
            table[own][node.id_B],
            macro_sum(counts(node.graph.hop1, sizes[other]), macro[other], value[other]),
            macro_sum(counts(node.graph.hop2, sizes[own]), macro[own], value[own]),
            recent_sum(node.graph.recent_BL, table[other], value[other]),
        ]

    x = torch.cat(side(batch.user, "user", "item") + side(batch.item, "item", "user"), dim=1)
    for (weight, bias), alpha in zip(w.layers[:2], w.alphas, strict=True):
        x = dice(x @ weight.T + bias, alpha)
    weight, bias = w.layers[2]
    return x @ weight.T + bias


def randomise(model: torch.nn.Module) -> None:
    """Weights large enough that a wrong wiring shows; Dice's slopes away from 0."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)


def tables(model: MGOE | MacGNN) -> dict[str, Tensor]:
    user, item = model.user, model.item
    assert isinstance(user.id, IdTable)
    assert isinstance(item.id, IdTable)
    return {
        "user": user.id.weight,
        "item": item.id.weight,
        "user_macro": user.macro.table.weight_NTD[:, 0],
        "item_macro": item.macro.table.weight_NTD[:, 0],
        "user_value": user.macro.project.weight_SOI[0],
        "item_value": item.macro.project.weight_SOI[0],
    }


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(0)
    return batch_of(spec_of(tasks=1, features=False), rows=40)


@torch.no_grad()
def test_mgoe_with_one_task_and_macgnns_options_is_macgnn(batch: Batch) -> None:
    options = {"table": "off", "info": False, "micro_weight": "sum", "micro_projection": "tied", "plain": False}
    mapping = {"architecture": "mgoe", "tau": TAU, "padding_node": True, "inputs": {"id_dim": DIM}, **options}
    model = build(mapping, spec_of(tasks=1, features=False)).train()
    assert isinstance(model, MGOE)
    randomise(model)
    # Columns of W_f: u1 u2 i1 i2 (2 D each), u i (D each), u_recent i_recent (2 D each); MacGNN's order differs.
    widths = [2 * DIM] * 4 + [DIM] * 2 + [2 * DIM] * 2
    u1, u2, i1, i2, u, i, u_recent, i_recent = torch.split(model.fusion.weight_SOI[0], widths, dim=1)
    first = torch.cat([u, u1, u2, u_recent, i, i1, i2, i_recent], dim=1)
    biases = [layer.bias_SO[0] for layer in (model.fusion, model.tower, model.logit) if layer.bias_SO is not None]
    weights = [first, model.tower.weight_SOI[0], model.logit.weight_SOI[0]]
    alphas = [model.after_fusion[0].alpha[0], model.after_tower[0].alpha[0]]  # type: ignore[index]
    expected = macgnn(batch, Weights(**tables(model), layers=list(zip(weights, biases, strict=True)), alphas=alphas))
    assert expected.std() > 0.1
    torch.testing.assert_close(model(batch), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_macgnn_with_one_task_is_macgnn(batch: Batch) -> None:
    mapping = {"architecture": "macgnn", "tau": TAU, "padding_node": True, "plain": False, "inputs": {"id_dim": DIM}}
    model = build(mapping, spec_of(tasks=1, features=False)).train()
    assert isinstance(model, MacGNN)
    randomise(model)
    linears = [*model.mlp.linears, model.logit]
    layers = [(linear.weight_SOI[0], linear.bias_SO[0]) for linear in linears]
    alphas = [after[0].alpha[0] for after in model.mlp.afters]  # type: ignore[index]
    expected = macgnn(batch, Weights(**tables(model), layers=layers, alphas=alphas))
    assert expected.std() > 0.1
    torch.testing.assert_close(model(batch), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_independent_heads_do_not_share_a_single_weight() -> None:
    torch.manual_seed(0)
    spec = spec_of(features=False)
    model = build({"architecture": "macgnn", "heads": "independent"}, spec).eval()
    assert isinstance(model, MacGNN)
    batch = batch_of(spec)
    before_BT = model(batch)
    model.user.macro.table.weight_NTD[:, 1] += 1
    model.mlp.linears[0].weight_SOI[1] += 1  # type: ignore[index, operator]
    moved_T = (model(batch) - before_BT).abs().amax(dim=0) > 1e-6
    assert moved_T.tolist() == [False, True, False]
