"""Random valid inputs of any InputSpec, for tests of whatever reads or returns batches."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

import torch
from torch import Tensor

from model.nets.interface import (
    Batch,
    EdgeBatch,
    FeatureBatch,
    FeatureCards,
    GraphBatch,
    GraphCards,
    InputSpec,
    NodeBatch,
)

Part = TypeVar("Part")
GROUPS = GraphCards(n_user_groups=7, n_item_groups=6, means=4, task_edges=True)
KEPT_EDGES = 5
RECENT = 6


def spec_of(
    tasks: int = 3,
    graph: GraphCards | None = GROUPS,
    features: bool = True,
    given: tuple[int | None, ...] = (),
) -> InputSpec:
    cards = FeatureCards(sparse=(4, 5), multi=(6,), dense=3) if features else FeatureCards()
    return InputSpec(
        tasks=tuple(f"task{t}" for t in range(tasks)),
        n_users=30,
        n_items=20,
        user=cards,
        item=cards,
        context=FeatureCards(sparse=(24,), dense=1) if features else FeatureCards(),
        graph=graph,
        given=given,
    )


def features_of(cards: FeatureCards, rows: int, generator: torch.Generator) -> FeatureBatch:
    def codes(card: int, *shape: int) -> Tensor:
        return torch.randint(0, card, shape, generator=generator)

    sparse = [codes(card, rows) for card in cards.sparse]
    return FeatureBatch(
        sparse_BF=torch.stack(sparse, dim=1) if sparse else torch.zeros(rows, 0, dtype=torch.int64),
        dense_BG=torch.randn(rows, cards.dense, generator=generator),
        multi=tuple(codes(card, rows, 4) for card in cards.multi),
    )


def edges_of(n_macro: int, rows: int, generator: torch.Generator, kept: int = KEPT_EDGES) -> EdgeBatch:
    """Distinct macro nodes, largest count first, padded with 0; some rows have no edge at all."""
    kept = min(kept, n_macro)
    macro = torch.stack([torch.randperm(n_macro, generator=generator)[:kept] + 1 for _ in range(rows)])
    count = torch.randint(0, 40, (rows, kept), generator=generator).sort(dim=1, descending=True).values
    count[torch.rand(rows, generator=generator) < 0.2] = 0
    return EdgeBatch(macro_Bk=macro * (count > 0), log_count_Bk=torch.log1p(count.float()))


def task_counts_of(edges: EdgeBatch, tasks: int, generator: torch.Generator) -> Tensor:
    """log1p of counts by task [B, k, T] at the edges' macro nodes, in no order of size; many of them 0."""
    count_BkT = torch.randint(-8, 20, (*edges.macro_Bk.shape, tasks), generator=generator).clamp(min=0)
    return torch.log1p(count_BkT.float()) * (edges.macro_Bk > 0).unsqueeze(2)


def graph_of(
    tasks: int, groups: tuple[int, int], other_nodes: int, rows: int, generator: torch.Generator
) -> GraphBatch:
    """groups: macro nodes of the other side (one hop away) and of this one (two hops)."""
    first, second = groups
    recent = torch.randint(0, other_nodes, (rows, RECENT), generator=generator).sort(descending=True).values
    hop1 = edges_of(first, rows, generator)
    return GraphBatch(
        group_B=torch.randint(0, second + 1, (rows,), generator=generator),
        hop1=hop1,
        hop2=edges_of(second, rows, generator),
        dominant_BT=torch.randint(0, first + 1, (rows, tasks), generator=generator),
        recent_BL=recent,
        recent_score_BL=torch.rand(rows, RECENT, generator=generator) * (recent > 0),
        log_degree_BT=torch.rand(rows, tasks, generator=generator) * 3,
        log_exposure_B=torch.rand(rows, generator=generator) * 4,
        neighbour_mean_BC=torch.randn(rows, GROUPS.means, generator=generator),
        task_log_count_BkT=task_counts_of(hop1, tasks, torch.Generator().manual_seed(generator.initial_seed())),
    )


def batch_of(spec: InputSpec, rows: int = 16, seed: int = 0) -> Batch:
    """Ids 0 (unknown), empty histories and padding all occur."""
    generator = torch.Generator().manual_seed(seed)
    tasks = len(spec.tasks)
    user_graph = item_graph = None
    if spec.graph is not None:
        users, items = spec.graph.n_user_groups, spec.graph.n_item_groups
        user_graph = graph_of(tasks, (items, users), spec.n_items, rows, generator)
        item_graph = graph_of(tasks, (users, items), spec.n_users, rows, generator)
    return Batch(
        user=NodeBatch(
            torch.randint(0, spec.n_users, (rows,), generator=generator),
            features_of(spec.user, rows, generator),
            user_graph,
        ),
        item=NodeBatch(
            torch.randint(0, spec.n_items, (rows,), generator=generator),
            features_of(spec.item, rows, generator),
            item_graph,
        ),
        context=features_of(spec.context, rows, generator),
    )


def take(part: Part, rows: Tensor) -> Part:
    """The same dataclass of tensors (Batch, NodeBatch, ...) with only these rows, in this order."""
    if isinstance(part, Tensor):
        return part[rows]  # type: ignore[return-value]
    if isinstance(part, tuple):
        return tuple(take(each, rows) for each in part)  # type: ignore[return-value]
    if part is None:
        return part
    fields = {field.name: take(getattr(part, field.name), rows) for field in dataclasses.fields(part)}  # type: ignore[arg-type]
    return type(part)(**fields)
