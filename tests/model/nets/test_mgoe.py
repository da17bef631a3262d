"""Every ablation switch of MGOE changes what it says, and nothing else."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from model.errors import UserError
from model.nets.cross import cross_features
from model.nets.id_table import IdTable
from model.nets.interface import Batch, EdgeBatch, GraphBatch, GraphCards
from model.nets.mgoe import MGOE
from tests.model.nets.batches import GROUPS, batch_of, spec_of
from tests.model.nets.variants import build


def mgoe(tasks: int = 3, graph: GraphCards = GROUPS, **options: Any) -> MGOE:
    torch.manual_seed(0)
    model = build({"architecture": "mgoe", **options}, spec_of(tasks, graph)).eval()
    assert isinstance(model, MGOE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model


def with_user_graph(batch: Batch, **changes: Any) -> Batch:
    assert batch.user.graph is not None
    graph: GraphBatch = dataclasses.replace(batch.user.graph, **changes)
    return dataclasses.replace(batch, user=dataclasses.replace(batch.user, graph=graph))


def doubled(edges: EdgeBatch) -> EdgeBatch:
    return EdgeBatch(edges.macro_Bk, edges.log_count_Bk * 2)


def changes_of(batch: Batch) -> dict[str, Batch]:
    """The batch with one part of the user's graph changed."""
    graph = batch.user.graph
    assert graph is not None
    assert graph.task_log_count_BkT is not None
    return {
        "hop1": with_user_graph(batch, hop1=doubled(graph.hop1)),
        "hop2": with_user_graph(batch, hop2=doubled(graph.hop2)),
        "dominant": with_user_graph(batch, dominant_BT=(graph.dominant_BT + 1) % 6),
        "recent": with_user_graph(batch, recent_BL=graph.recent_BL.clamp(min=1) % 19 + 1),
        "recent score": with_user_graph(batch, recent_score_BL=graph.recent_score_BL.square()),
        "degree": with_user_graph(batch, log_degree_BT=graph.log_degree_BT + 1),
        "task count": with_user_graph(batch, task_log_count_BkT=graph.task_log_count_BkT.square()),
        "group": with_user_graph(batch, group_B=(graph.group_B + 1) % 7 + 1),
    }


@pytest.mark.parametrize(
    ("options", "unread"),
    [
        ({}, ["degree", "group", "task count"]),
        ({"two_hop": False}, ["degree", "group", "hop2", "task count"]),
        ({"micro": False}, ["degree", "group", "recent", "recent score", "task count"]),
        ({"micro_weight": "sum"}, ["degree", "group", "recent score", "task count"]),
        ({"table": "off"}, ["degree", "group", "dominant", "task count"]),
        ({"table": "soft"}, ["degree", "group", "dominant"]),
        ({"inputs": {"degrees": True}}, ["group", "task count"]),
        ({"inputs": {"groups": True}}, ["degree", "task count"]),
        ({"cross": True}, ["degree", "task count"]),
    ],
    ids=str,
)
@torch.no_grad()
def test_a_score_depends_on_the_parts_of_the_graph_that_are_switched_on(
    options: dict[str, Any], unread: list[str]
) -> None:
    model, batch = mgoe(**options), batch_of(spec_of())
    logit_BT = model(batch)
    same = {name for name, changed in changes_of(batch).items() if torch.equal(model(changed), logit_BT)}
    assert same == set(unread)


@pytest.mark.parametrize("groups", [GROUPS, GraphCards(n_user_groups=90, n_item_groups=70, means=4, task_edges=True)])
@torch.no_grad()
def test_the_soft_table_is_the_literal_softmax_over_a_tasks_own_counts(groups: GraphCards) -> None:
    """softmax(log(P_t + 1) / tau) M^t, one node, task and macro node at a time: few macro nodes, and many."""
    spec = spec_of(graph=groups)
    model, batch = mgoe(table="soft", tau=0.7, graph=groups), batch_of(spec)
    sides = (
        (batch.user, model.user_half(batch.user), model.item),
        (batch.item, model.item_half(batch.item), model.user),
    )
    for node, half, other in sides:
        assert node.graph is not None
        assert node.graph.task_log_count_BkT is not None
        table_NTD = other.macro.table.weight_NTD
        for row in range(len(node.id_B)):
            for task in range(3):
                count = dict.fromkeys(range(1, len(table_NTD)), 0.0)
                kept = zip(node.graph.hop1.macro_Bk[row], node.graph.task_log_count_BkT[row, :, task], strict=True)
                count |= {int(macro): math.expm1(log_count) for macro, log_count in kept if macro}
                power = {macro: (number + 1) ** (1 / 0.7) for macro, number in count.items()}
                wanted_D = sum(power[macro] / sum(power.values()) * table_NTD[macro, task] for macro in power)
                torch.testing.assert_close(half["table_BTD"][row, task], wanted_D, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_task_without_positives_reads_its_whole_soft_table_alike() -> None:
    model, batch = mgoe(table="soft"), batch_of(spec_of())
    assert batch.user.graph is not None
    assert batch.user.graph.task_log_count_BkT is not None
    empty = with_user_graph(batch, task_log_count_BkT=batch.user.graph.task_log_count_BkT * 0)
    mean_TD = model.item.macro.table.weight_NTD[1:].mean(dim=0)
    table_BTD = model.user_half(empty.user)["table_BTD"]
    torch.testing.assert_close(table_BTD, mean_TD.expand_as(table_BTD))


def test_a_soft_table_without_counts_by_task_is_refused() -> None:
    with pytest.raises(UserError, match="table is soft but the macro graph holds no counts by task: build it with"):
        mgoe(table="soft", graph=dataclasses.replace(GROUPS, task_edges=False))
    model, batch = mgoe(table="soft"), with_user_graph(batch_of(spec_of()), task_log_count_BkT=None)
    with pytest.raises(UserError, match="table is soft: give a graph that was built with task_edges"):
        model(batch)


@torch.no_grad()
def test_a_mean_gate_is_the_average_of_the_experts() -> None:
    model, batch = mgoe(gate="mean"), batch_of(spec_of())
    user, item = model.user_half(batch.user), model.item_half(batch.item)
    bottom_BTO = model._bottom(user, item)
    parts = [*model.user.hops(user, model.item, item), *model.item.hops(item, model.user, user)]
    expert_BTO = torch.cat([*parts, user["id_BSD"], item["id_BSD"]], dim=-1)
    torch.testing.assert_close(bottom_BTO, expert_BTO.mean(dim=1, keepdim=True).expand(-1, 3, -1))


def macro_gradients(model: MGOE, task: int) -> Tensor:
    """Norm of the gradient of one task's logits in each task's macro table: [T]."""
    model.zero_grad()
    torch.autograd.backward(model(batch_of(spec_of()))[:, task].sum())
    gradient_NTD = model.item.macro.table.weight_NTD.grad
    assert gradient_NTD is not None
    return gradient_NTD.square().sum(dim=(0, 2))


def test_stop_gradient_keeps_a_task_away_from_other_experts_and_changes_no_score() -> None:
    # Information transfer and experts' gates are further ways to another expert: switched off to see this one alone.
    alone: dict[str, Any] = {"info": False, "gate_input": "ids"}
    stopped, free = mgoe(stop_gradient=True, **alone), mgoe(**alone)
    batch = batch_of(spec_of())
    torch.testing.assert_close(stopped(batch), free(batch))
    assert (macro_gradients(free, task=1) > 0).all()
    assert (macro_gradients(stopped, task=1) > 0).tolist() == [False, True, False]


@pytest.mark.parametrize("info", [True, False])
@torch.no_grad()
def test_information_flows_from_weaker_to_stronger_tasks_only(info: bool) -> None:
    model, batch = mgoe(info=info), batch_of(spec_of())
    before_BT = model(batch)
    model.tower.weight_SOI[1] += 0.1
    moved_T = (model(batch) - before_BT).abs().amax(dim=0) > 1e-6
    assert moved_T.tolist() == [False, True, info]


@torch.no_grad()
def test_target_attention_sees_the_candidate_through_the_macro_nodes() -> None:
    """A one-hop sum that is the same for all items without attention differs by item with it."""
    batch = batch_of(spec_of())
    for attention, depends in (("none", False), ("target", True)):
        model = mgoe(attention=attention)
        user, item = model.user_half(batch.user), model.item_half(batch.item)
        rolled = {name: part.roll(1, dims=0) for name, part in item.items()}
        hop1_BTP, hop2_BTP = model.user.hops(user, model.item, item)
        other1_BTP, other2_BTP = model.user.hops(user, model.item, rolled)
        assert torch.allclose(hop1_BTP, other1_BTP) is not depends
        assert torch.equal(hop2_BTP, other2_BTP)


@torch.no_grad()
def test_cross_features_read_the_pairs_own_edge() -> None:
    model = mgoe(cross=True)
    batch = batch_of(spec_of(), rows=2)
    edges = EdgeBatch(torch.tensor([[3, 1], [3, 0]]), torch.log1p(torch.tensor([[6.0, 2.0], [5.0, 0.0]])))
    none = EdgeBatch(torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, 1))
    assert batch.user.graph is not None
    assert batch.item.graph is not None
    user = dataclasses.replace(batch.user, graph=dataclasses.replace(batch.user.graph, hop1=edges))
    graph = dataclasses.replace(batch.item.graph, hop1=none, group_B=torch.tensor([1, 0]))
    item = dataclasses.replace(batch.item, graph=graph)
    cross_B4 = cross_features(model.user_half(user), model.item_half(item))
    torch.testing.assert_close(cross_B4, torch.tensor([[torch.tensor(3.0).log(), 0.25, 0, 0], [0.0, 0, 0, 0]]))


@torch.no_grad()
def test_the_cost_of_a_row_does_not_depend_on_its_degree() -> None:
    model = mgoe()
    flops = []
    for factor in (1.0, 10.0):
        batch = batch_of(spec_of())
        assert batch.user.graph is not None
        edges = batch.user.graph.hop1
        more = EdgeBatch(edges.macro_Bk, torch.log1p(edges.log_count_Bk.expm1() * factor))
        with FlopCounterMode(display=False) as counter:
            model(with_user_graph(batch, hop1=more))
        flops.append(counter.get_total_flops())
    assert flops[0] == flops[1] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"gate_input": "ids"}, "gate_input is ids"), ({"attention": "target"}, "attention is target")],
)
def test_options_that_need_ids_are_refused_without_them(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        mgoe(inputs={"ids": False}, **options)


def test_shared_ids_cost_one_table_instead_of_one_a_task() -> None:
    full, macro = mgoe(), mgoe(task_emb="macro")
    assert isinstance(full.user.id, IdTable)
    assert isinstance(macro.user.id, IdTable)
    assert full.user.id.weight.numel() == 3 * macro.user.id.weight.numel()
    assert full.user.macro.table.weight_NTD.shape == macro.user.macro.table.weight_NTD.shape
