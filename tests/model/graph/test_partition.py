"""Partitions on disk."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.errors import Fault, UserError
from model.graph.build import build, build_from
from model.graph.config import GraphConfig
from model.graph.events import DatasetEvents, Events, ParquetEvents, events_of
from model.graph.partition import SIDES, SPAN_BITS, Cut, Loads, concatenate, partition
from model.graph.scratch import scratch
from model.graph.threads import Threads
from tests.model.graph.equality import graph_differences
from tests.model.graph.logs import random_log

CONFIG = GraphConfig(user_groups=6, item_groups=5, svd_rank=8, shards=3)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def loads_of(source: DatasetEvents) -> Loads:
    loads = Loads({"user": source.catalogue.n_users, "item": source.catalogue.n_items})
    list(loads.counting(events_of(source)))
    return loads


@pytest.mark.parametrize("rows", [1, 1500, 1 << 20])
def test_every_event_of_a_known_node_lies_in_its_shard_in_the_order_of_reading(rows: int, temporary: Path) -> None:
    source = DatasetEvents(random_log(n_users=500, n_items=300))
    loads, before = loads_of(source), int(source.dataset.test.time[10])
    events = concatenate(events_of(source))
    with scratch(on_disk=True) as place:
        parts = partition(source.pieces(), loads, Cut(4, before, rows), n_tasks=3, place=place, crew=Threads(2))
        for side, node in (("user", events.user), ("item", events.item)):
            shards = [parts.load(side, number) for number in range(4)]  # type: ignore[arg-type]
            wanted = (node > 0) & (events.time < before)
            assert sum(len(shard.own) for shard in shards) == wanted.sum()
            for shard in shards:
                here = wanted & (node >= shard.first) & (node < shard.first + shard.n_rows)
                for found, column in (
                    (shard.own + shard.first, node),
                    (shard.other, events.item if side == "user" else events.user),
                    (shard.mask, events.mask),
                    (shard.time, events.time),
                    (shard.known, events.known),
                ):
                    assert np.array_equal(found, column[here])


def test_shards_balance_events_however_uneven_the_nodes_are() -> None:
    loads = Loads({"user": 64_000, "item": 64_000})
    rng = np.random.default_rng(0)
    heavy = (64_000 * rng.random(200_000) ** 4).astype(np.int32)
    even = rng.integers(0, 64_000, 200_000).astype(np.int32)
    nothing = np.zeros(200_000, np.uint32)
    list(loads.counting([Events(heavy, even, nothing, np.arange(200_000), nothing)]))
    for side in SIDES:
        starts = loads.starts(side, 8)
        assert starts[0] == 0
        assert starts[-1] == 64_000
        assert (np.diff(starts) >= 0).all()
    held = np.histogram(heavy, bins=loads.starts("user", 8))[0]
    widest = np.bincount(heavy >> SPAN_BITS).max()
    assert held.max() <= 200_000 / 8 + widest


def test_working_files_are_gone_after_a_build_and_its_arrays_still_read(temporary: Path) -> None:
    graph = build(random_log(), CONFIG, "digest")
    assert list(temporary.iterdir()) == []
    assert graph.snapshots[1].user.hop1.macro.sum() > 0


def test_working_files_are_gone_after_a_build_that_failed(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(Fault, match="no space left for the graph's working files"):
        build(random_log(), CONFIG, "digest")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "says"),
    [(errno.ENOSPC, "no space left for the graph; free some"), (errno.EIO, "Input/output error")],
)
def test_a_disk_that_fails_where_the_graph_goes_is_named(
    code: int, says: str, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, allocate = temporary / "out", os.posix_fallocate
    out.mkdir()

    def fail(file: int, start: int, size: int) -> None:
        if Path(f"/proc/self/fd/{file}").readlink().is_relative_to(out):
            raise OSError(code, os.strerror(code))
        allocate(file, start, size)

    monkeypatch.setattr(os, "posix_fallocate", fail)
    with pytest.raises(Fault, match=f"{out}/user: {says}"):
        build(random_log(), CONFIG, "digest", out=out)
    assert [path.name for path in temporary.iterdir()] == ["out"]


def write_parquet(folder: Path, files: int) -> None:
    """The random log as Parquet files; unobserved labels are null."""
    dataset = random_log()
    assert dataset.history is not None
    parts = (dataset.history, dataset.train, dataset.validate, dataset.test)
    columns: dict[str, pa.ChunkedArray[Any]] = {
        name: pa.chunked_array([getattr(part, name) for part in parts]) for name in ("user", "item", "time")
    }
    for t, name in enumerate(dataset.schema.task_names):
        columns[name] = pa.chunked_array([pa.array(part.labels[:, t], mask=~part.observed[:, t]) for part in parts])
    table = pa.Table.from_arrays(list(columns.values()), names=list(columns))
    step = -(-len(table) // files)
    for number in range(files):
        pq.write_table(table.slice(number * step, step), folder / f"part-{number:03}.parquet")


@pytest.mark.parametrize("shards", [1, 5])
@pytest.mark.parametrize("files", [1, 4])
def test_parquet_streamed_in_chunks_gives_the_graph_of_the_log_in_memory(
    tmp_path: Path, shards: int, files: int
) -> None:
    write_parquet(tmp_path, files)
    memory = DatasetEvents(random_log())
    stream = ParquetEvents(tmp_path, memory.catalogue, memory.span, batch_rows=333)
    config = CONFIG.model_copy(update={"shards": shards, "snapshots": "daily"})
    assert stream.rows == memory.rows
    assert graph_differences(build_from(stream, config, "digest"), build_from(memory, CONFIG_DAILY, "digest")) == []


CONFIG_DAILY = CONFIG.model_copy(update={"shards": 1, "snapshots": "daily"})


def test_a_parquet_log_without_a_task_column_or_without_files_is_refused_by_name(tmp_path: Path) -> None:
    memory = DatasetEvents(random_log())
    with pytest.raises(UserError, match="no Parquet file"):
        build_from(ParquetEvents(tmp_path, memory.catalogue, memory.span), CONFIG, "digest")
    pq.write_table(pa.table({"user": [1], "item": [1], "time": [1], "task0": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="missing column 'task1'"):
        build_from(ParquetEvents(tmp_path, memory.catalogue, memory.span), CONFIG, "digest")
