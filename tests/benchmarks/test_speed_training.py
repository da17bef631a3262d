"""The training benchmark compares networks of equal size, and its workers train together."""

from __future__ import annotations

import pytest

pytest.importorskip("torch_rechub", reason="the benchmark's extra is not installed: pip install 'mgoe[bench]'")

from benchmarks.speed.epochs import against_rechub
from benchmarks.speed.workers import Case, on_workers


@pytest.mark.parametrize("name", ["MMoE", "PLE"])
def test_a_network_of_the_peer_has_our_parameters(name: str) -> None:
    found = against_rechub(name, dim=4, rows=1200)
    assert min(found.ours, found.theirs, found.ready) > 0


def test_two_workers_leave_the_rate_of_both() -> None:
    assert on_workers(2, Case("MMoE", dim=4, groups=0, rows=300, options={})) > 0
