"""Workers on one machine share the pages of a bundle: the second one adds no memory for tables."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from model.bundle.id_index import IdIndex
from model.bundle.node_tables import write_side
from model.nets.node_store import FeatureTable, SideTable

NODES = 200_000
WORKER = """
import json, re, sys
from pathlib import Path
import torch
from model.bundle.node_tables import read_side
from model.bundle.id_index import IdIndex

folder = Path(sys.argv[1])
table, index = read_side(folder), IdIndex.load(folder)
index.find(["user-1", "nobody"])
rows = torch.arange(len(table.trained_n))
table.take(rows, torch.zeros_like(rows), torch.zeros_like(rows))
for array in (index.text_C, index.start, index.hash_n, index.code_n, index.directory):
    array.sum()
print("ready", flush=True)
sys.stdin.readline()
found, ours = dict.fromkeys(("Rss", "Pss", "Private_Dirty"), 0), False
for line in Path("/proc/self/smaps").read_text().splitlines():
    name = line.split(":")[0]
    if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
        ours = str(folder) in line
    elif ours and name in found:
        found[name] += int(line.split()[1])
print(json.dumps(found), flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="no /proc/self/smaps on this system")
def test_two_workers_hold_the_tables_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = FeatureTable(
        torch.from_numpy(rng.integers(0, 100, (NODES, 8), dtype=np.int32)),
        torch.from_numpy(rng.normal(size=(NODES, 16)).astype(np.float32)),
        (),
    )
    rates = torch.from_numpy(rng.normal(size=(NODES, 12)).astype(np.float32))
    write_side(SideTable(torch.arange(NODES), features, None, rates), tmp_path)
    IdIndex.of([f"user-{number}" for number in range(NODES)]).save(tmp_path)
    whole = sum(path.stat().st_size for path in tmp_path.glob("*.npy")) / 1024
    assert whole > 25_000

    command = [sys.executable, "-c", WORKER, str(tmp_path)]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        assert [_answer(worker) for worker in workers] == ["ready", "ready"]
        found = [json.loads(_answer(worker, "measure")) for worker in workers]
    finally:
        for worker in workers:
            worker.communicate("end", timeout=60)
    for sizes in found:
        assert sizes["Rss"] > 0.95 * whole  # every page was touched, and is the file's own
        assert sizes["Private_Dirty"] == 0  # none was copied
        assert sizes["Pss"] < 0.55 * sizes["Rss"]  # each page counts half: the other worker holds it too


def _answer(worker: subprocess.Popen[str], said: str | None = None) -> str:
    assert worker.stdin is not None
    assert worker.stdout is not None
    if said is not None:
        worker.stdin.write(said + "\n")
        worker.stdin.flush()
    return worker.stdout.readline().strip()
