"""kill -9 of each process of a stack as `mgoe up` starts it: users are served, and nothing promised is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.faults.kills import deaths
from benchmarks.faults.machine import Machine
from benchmarks.faults.pair import small_pair
from serving.stack.folder import StackFolder
from serving.stack.records import SUPERVISOR

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

HELD = 3
"""Most requests that an Envoy has open at 20 a second."""


def test_whichever_process_is_killed_users_are_served_and_no_evidence_is_lost(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with Machine(StackFolder.at(tmp_path / "stack"), small_pair(tmp_path), rankers=None) as machine:
        found = deaths(machine)
    record_property("kills", [*found.rows(), found.summary()])
    killed = [kill.process for kill in found.kills]
    assert {"gateway", "gateway-2", "ranker-baseline-2", "ranker-candidate", "evidence", "controller"} < set(killed)
    assert killed[-1] == SUPERVISOR
    assert found.lost() == []
    assert sum(one.outcome == "connection" for one in found.seen) <= 2 * HELD, found.rows()
    assert found.kept.outcomes > 0
    assert found.kept.outcomes_lost == 0
    assert found.kept.exposures_lost == 0
