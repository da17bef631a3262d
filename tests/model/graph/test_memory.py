"""What a build holds: memory that follows the option and not the log, and few open files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model.data.synthetic import Layout, write_synthetic
from model.data.synthetic_config import SyntheticConfig
from model.graph.config import GraphConfig
from model.graph.memory import MIB, spending_for

DAILY = {
    "user_groups": 20,
    "item_groups": 20,
    "snapshots": "daily",
    "neighbour_means": True,
    "task_edges": True,
    "features": "folded",
    "fold_users": 1000,
    "fold_items": 1000,
    "fit_sample": 1000,
    "memory_mb": 64,
}
CHILD = """
import json, resource, sys, tracemalloc
from pathlib import Path
import pyarrow as pa
from model.graph.build import build_from
from model.graph.config import GraphConfig
from model.graph.dense_log import dense_log

resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
config = GraphConfig.model_validate(json.loads(sys.argv[2]))
source = dense_log(Path(sys.argv[1]))

def resident():
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024

build_from(source, config.model_copy(update={"snapshots": "single"}), "warm")
Path("/proc/self/clear_refs").write_text("5")
before = resident()
tracemalloc.start()
graph = build_from(source, config, "digest")
print(json.dumps({
    "snapshots": len(graph.snapshots),
    "allocated": tracemalloc.get_traced_memory()[1] + pa.default_memory_pool().max_memory(),
    "resident": resident() - before,
}))
"""


def built(folder: Path, options: dict[str, Any], rows: int) -> dict[str, int]:
    """A child's build of a synthetic log of a tenth as many users as rows: bytes that it held at most."""
    config = SyntheticConfig(rows=rows, users=rows // 10, items=rows // 100, days=30)
    write_synthetic(folder / "log", config, Layout(parts=2, bare=True, group_rows=50_000))
    command = [sys.executable, "-c", CHILD, str(folder / "log"), json.dumps(options)]
    environment = os.environ | {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert said.returncode == 0, said.stderr
    found: dict[str, int] = json.loads(said.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_daily_snapshots_with_neighbour_means_keep_to_the_memory_that_was_allowed(tmp_path: Path) -> None:
    found = built(tmp_path, DAILY, rows=300_000)
    assert found["snapshots"] == 30
    arrays = 30 * (30_000 + 3_000) * 20 * 12  # what the graph's own edges take, several times what is allowed
    assert arrays > 3 * 64 * MIB
    assert found["allocated"] <= 64 * MIB
    assert found["resident"] <= 64 * MIB


def test_hundreds_of_shards_and_daily_snapshots_keep_to_a_limit_of_64_open_files(tmp_path: Path) -> None:
    found = built(tmp_path, DAILY | {"shards": 300, "threads": 2}, rows=3_000)
    assert found["snapshots"] == 30


def test_arrays_that_memory_would_not_hold_lie_on_disk_even_in_one_shard() -> None:
    config = GraphConfig(memory_mb=64)
    assert not spending_for(1000, 10_000, 3, 1, config).on_disk
    spread = spending_for(1000, 10_000, 3, 30, config)
    assert (spread.shards, spread.on_disk) == (1, True)
    assert spending_for(1000, 10_000, 3, 1, config.model_copy(update={"shards": 2})).on_disk


def test_blocks_shrink_with_the_memory_and_the_threads() -> None:
    wide, narrow, split = (
        spending_for(1000, 10_000, 3, 1, GraphConfig(memory_mb=memory, threads=threads))
        for memory, threads in ((1 << 14, 1), (64, 1), (64, 4))
    )
    for name in ("rows", "events", "cells"):
        assert getattr(wide, name) > getattr(narrow, name) > getattr(split, name) >= 1
