"""The benchmark by size, on a small one: its peak is seen from outside, and its graph is the one built in memory."""

from __future__ import annotations

from pathlib import Path

from benchmarks.graph.__main__ import measure


def test_a_small_size_is_measured_and_compared(tmp_path: Path) -> None:
    options = {"user_groups": 8, "item_groups": 8, "svd_rank": 4, "top_k": 4, "features": "folded", "shards": 3}
    row, built = measure(20_000, options, tmp_path / "work", tmp_path / "log", compare=True)
    assert row["as in memory"] == "yes"
    assert row["edges"] == "20,000"
    assert 0 < built.private < built.resident
    assert [stage["stage"] for stage in built.facts["stages"]][-1] == "write"
