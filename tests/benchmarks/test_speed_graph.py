"""The benchmark itself: its peers give what the graph gives, or it stops."""

from __future__ import annotations

import pytest

pytest.importorskip("duckdb", reason="the benchmark's extra is not installed: pip install 'mgoe[bench]'")

from benchmarks.speed.graph import measure


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_sql_and_a_row_by_row_construction_give_the_same_counts(beta: float) -> None:
    found = measure(rows=4000, users=60, items=50, groups=7, beta=beta, hops=2, python_rows=500, repeats=1, seed=1)
    assert len(found) == 9
    assert all(one.ratio > 0 for one in found)
