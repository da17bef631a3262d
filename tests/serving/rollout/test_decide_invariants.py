"""The invariants of experiment.md that concern decide(), over random lives of a rollout."""

from __future__ import annotations

from typing import get_args

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from serving.rollout.state import Phase
from tests.serving.rollout.rollout_machine import SEEN, WitnessedLife


def test_every_decision_of_random_lives_keeps_the_invariants() -> None:
    """Invariants 1 to 8, 10 to 12, 14 to 16 and the verdict's part of 17; the auditor names the one that breaks."""
    SEEN.clear()
    run_state_machine_as_test(
        WitnessedLife,
        settings=settings(
            max_examples=150,
            stateful_step_count=40,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert set(get_args(Phase)) == SEEN, "the walk did not arrive everywhere"
