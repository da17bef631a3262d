"""The graph on disk and its version."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.errors import UserError
from model.graph.artifact import read_graph, write_graph
from model.graph.build import build
from model.graph.config import GraphConfig
from tests.model.graph.equality import graph_differences
from tests.model.graph.logs import random_log

CONFIG = GraphConfig(user_groups=6, item_groups=5, svd_rank=8, snapshots="daily")


@pytest.mark.parametrize("task_edges", [False, True])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_graph_reads_back_as_it_was_written(tmp_path: Path, task_edges: bool, shards: int) -> None:
    graph = build(random_log(), CONFIG.model_copy(update={"task_edges": task_edges, "shards": shards}), "digest")
    write_graph(graph, tmp_path / "graph")
    assert graph_differences(graph, read_graph(tmp_path / "graph"), ignore=()) == []


def test_arrays_are_mapped_not_loaded(tmp_path: Path) -> None:
    write_graph(build(random_log(), CONFIG, "digest"), tmp_path)
    assert isinstance(read_graph(tmp_path).snapshots[0].user.hop1.macro, np.memmap)


def test_what_is_no_whole_graph_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not a macro graph \(graph.json is missing\)"):
        read_graph(tmp_path)
    write_graph(build(random_log(), CONFIG, "digest"), tmp_path)
    for cut in (b"\x93NUMPY", b""):
        (tmp_path / "item" / "hop2.macro.npy").write_bytes(cut)
        with pytest.raises(UserError, match=r"hop2.macro.npy: not a whole array"):
            read_graph(tmp_path)
    (tmp_path / "item" / "hop2.macro.npy").unlink()
    with pytest.raises(UserError, match=r"hop2.macro.npy is missing"):
        read_graph(tmp_path)
    facts = json.loads((tmp_path / "graph.json").read_text())
    (tmp_path / "graph.json").write_text(json.dumps(facts | {"format": 99}))
    with pytest.raises(UserError, match="format 99, this version reads 1"):
        read_graph(tmp_path)


def test_a_graph_that_lacks_an_array_which_its_options_name_is_refused(tmp_path: Path) -> None:
    write_graph(build(random_log(), CONFIG.model_copy(update={"task_edges": True}), "digest"), tmp_path)
    (tmp_path / "user" / "task_log_count.npy").unlink()
    with pytest.raises(UserError, match=r"task_log_count.npy is missing; build the graph again"):
        read_graph(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"beta": 0.5},
        {"rank": "binary"},
        {"seed": 3},
        {"theta_quantile": 0.1},
        {"item_groups": 4},
        {"top_k": 3},
        {"task_edges": True},
    ],
)
def test_the_version_changes_with_every_option_that_matters(change: dict[str, object]) -> None:
    dataset = random_log(rows=600)
    before = build(dataset, CONFIG, "digest").version
    assert build(dataset, CONFIG.model_copy(update=change), "digest").version != before


def test_the_version_changes_with_the_data_and_not_with_shards_or_memory() -> None:
    dataset = random_log(rows=600)
    before = build(dataset, CONFIG, "digest").version
    assert build(dataset, CONFIG, "other").version != before
    assert build(dataset, CONFIG.model_copy(update={"shards": 2, "memory_mb": 64}), "digest").version == before
