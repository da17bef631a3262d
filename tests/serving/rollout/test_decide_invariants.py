"""The invariants of experiment.md that concern decide(), over random lives of a rollout."""

from __future__ import annotations

from typing import get_args

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from serving.rollout.state import Phase
from tests.serving.rollout.rollout_machine import SEEN, Life, WitnessedLife
from tests.serving.rollout.rollout_world import BASELINE, CANDIDATE


def test_every_decision_of_random_lives_keeps_the_invariants() -> None:
    """Invariants 1 to 8, 10 to 12, 14 to 16 and the verdict's part of 17; the auditor names the one that breaks."""
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=150,
            stateful_step_count=40,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_rules_of_a_life_lead_into_every_phase() -> None:
    """A walk that never arrives proves nothing."""
    SEEN.clear()
    life = WitnessedLife()
    life.create(manual=False, hold=False, manage=True, max_weight=100)
    life.models_change(candidate=None, baseline=None)
    life.reconcile()
    life.models_change(candidate=CANDIDATE, baseline=BASELINE)
    life.reconcile()
    life.pause(paused=True)
    life.reconcile()
    life.harm_shows()
    for way in (life.a_long_calm, life.the_candidate_never_comes_up, life.dies_after_the_first_write_of_a_rollback):
        life.another_attempt()
        way()
    assert set(get_args(Phase)) == SEEN
