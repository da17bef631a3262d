"""Faults on a real local stack under users: traffic is safe within seconds, and what was promised is kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from benchmarks.faults.disk import small_disk
from benchmarks.faults.finding import Finding
from benchmarks.faults.machine import Machine
from benchmarks.faults.pair import small_pair
from benchmarks.faults.scenarios import SCENARIOS, run
from serving.stack.folder import StackFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ZERO_S = 10.0
"""From the moment at which a breach can be seen until the candidate has no traffic (issue: within 10 s)."""
ENDS = {
    "slow-candidate": "RolledBack (GuardrailBreached)",
    "erroring-candidate": "RolledBack (GuardrailBreached)",
    "evidence-hung-under-errors": "RolledBack (GuardrailBreached)",
    "controller-killed-under-errors": "RolledBack (GuardrailBreached)",
    "disk-full-under-errors": "RolledBack (GuardrailBreached)",
    "supervisor-killed": "RolledBack (GuardrailBreached)",
    "candidate-killed": "RolledBack (CandidateLost)",
    "candidate-hung": "RolledBack (CandidateLost)",
    "controller-killed-rolling-back": "RolledBack (Aborted)",
}
"""What the table of states says; the others end as a person wished: Succeeded."""
OTHER_ENDS = {
    # Whatever is seen first: its failed answers, or that it is gone.
    "candidate-killed": "RolledBack (GuardrailBreached)",
    "candidate-hung": "RolledBack (GuardrailBreached)",
    # Its router's 0 % is seen before its own status is.
    "controller-killed-rolling-back": "RolledBack (RollbackResumed)",
    # The router can be written, and the status only once there is room.
    "disk-full-under-errors": "RolledBack (RollbackResumed)",
}
UNLOGGED = {"gateway-killed", "disk-full", "disk-full-under-errors"}
"""Envoy's log loses lines here, of both arms alike, and nobody acknowledged those: what it had not written when it was
killed, and what no disk took."""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("faults")
    if os.geteuid() != 0:
        with Machine(StackFolder.at(folder / "stack"), small_pair(folder)) as made:
            yield made
        return
    with (
        small_disk(folder / "disk") as disk,
        Machine(StackFolder.at(disk.root / "stack"), small_pair(folder), disk) as made,
    ):
        yield made


@pytest.mark.parametrize("fault", SCENARIOS)
def test_a_fault_is_answered_in_time_and_loses_nothing_that_was_promised(
    machine: Machine, fault: str, record_property: Callable[[str, object], None]
) -> None:
    if fault.startswith("disk-full") and machine.disk is None:
        pytest.skip("mounting a small tmpfs needs root")
    found = run(fault, machine)
    for name, value in found.row().items():
        record_property(name, value)
    assert found.end in {ENDS.get(fault, "Succeeded (FullWeight)"), OTHER_ENDS.get(fault)}
    assert not found.toll.lost, found
    assert not found.toll.unreached or fault == "gateway-killed", found
    assert found.kept.outcomes > 0
    assert found.kept.outcomes_lost == 0, found
    assert found.kept.exposures_lost == 0 or fault in UNLOGGED, found
    assert found.after_zero == 0, found
    _require_in_time(found)


def _require_in_time(found: Finding) -> None:
    """A machine with other work than this is told apart: its figures say nothing of ours."""
    busy = found.load > 2 * (os.cpu_count() or 1)
    slow = found.zero_from_seen_s is not None and found.zero_from_seen_s > ZERO_S
    if busy and (slow or found.toll.late):
        pytest.xfail(f"load {found.load:.1f}: {found.row()}")
    assert not slow, found
    assert not found.toll.late, found
