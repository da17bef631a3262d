from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.bundle.bundle import open_bundle
from model.data.artifact import read_dataset
from model.graph.artifact import read_graph
from model.nets.interface import NodeBatch
from model.nets.node_store import NodeStore
from tests.model.bundle.bundle_world import World


def tensors_of(part: object) -> list[Tensor]:
    """All tensors of a nest of dataclasses, in order."""
    if isinstance(part, Tensor):
        return [part]
    if dataclasses.is_dataclass(part):
        return [found for field in dataclasses.fields(part) for found in tensors_of(getattr(part, field.name))]
    return [found for each in part for found in tensors_of(each)] if isinstance(part, tuple) else []


def same(left: NodeBatch, right: NodeBatch) -> bool:
    pairs = list(zip(tensors_of(left), tensors_of(right), strict=True))
    return len(pairs) > 8 and all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def trainer(world: World) -> NodeStore:
    return NodeStore.of(read_dataset(world.log), read_graph(world.graph), history_rates=True)


@pytest.mark.parametrize("side", ["users", "items"])
def test_every_node_reads_as_in_training_at_the_latest_moment(world: World, trainer: NodeStore, side: str) -> None:
    served = open_bundle(world.bundle("mgoe")).store
    index = torch.arange(trainer.spec.n_users if side == "users" else trainer.spec.n_items)
    now = torch.full_like(index, int(max(trainer.snapshots_S[-1], trainer.moments_R[-1])))
    assert same(getattr(served, side)(index, now), getattr(trainer, side)(index, now))
    assert same(getattr(served, side)(index, now - 10**9), getattr(trainer, side)(index, now))


def test_a_bundle_holds_one_moment_in_compact_types(world: World, trainer: NodeStore) -> None:
    table = trainer.user_table
    assert table.graph is not None
    assert table.rates is not None
    assert len(trainer.snapshots_S) > 1
    served = open_bundle(world.bundle("mgoe")).store.user_table
    assert served.graph is not None
    assert served.rates is not None
    assert served.rates.shape[0] == served.graph.macro1.shape[0] == trainer.spec.n_users
    assert served.graph.macro1.dtype == served.graph.recent.dtype == torch.int8
    assert served.graph.log_count1.dtype == torch.float16


def test_a_model_without_graph_and_rates_has_no_such_tables(world: World) -> None:
    opened = open_bundle(world.bundle("mmoe"))
    assert opened.store.item_table.graph is None
    assert opened.store.item_table.rates is None
    assert opened.serving.graph_as_of is None
    assert opened.serving.rates_as_of is None
    assert not (Path(world.bundle("mmoe")) / "items" / "graph").exists()
