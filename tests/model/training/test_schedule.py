"""Rates and evaluation moments are functions of the step alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.training.config import TrainingConfig
from model.training.schedule import is_evaluation, rate_factor


def test_warm_up_rises_to_the_peak_and_cosine_falls_to_zero() -> None:
    config = TrainingConfig(schedule="cosine", warmup_steps=4)
    factors = [rate_factor(step, 104, config) for step in range(104)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[54] == pytest.approx(0.5)
    assert factors[-1] < 0.001
    assert factors[4:] == sorted(factors[4:], reverse=True)


def test_a_constant_schedule_stays_at_its_peak() -> None:
    assert {rate_factor(step, 10, TrainingConfig()) for step in range(10)} == {1.0}


@given(st.integers(1, 200), st.floats(0.01, 1.0), st.integers(1, 4))
def test_evaluations_come_as_often_as_asked_and_once_at_the_end(steps: int, every: float, epochs: int) -> None:
    config = TrainingConfig(evaluate_every=every, epochs=epochs)
    found = [step for step in range(1, steps * epochs + 1) if is_evaluation(step, steps, config)]
    asked = epochs * min(1 / every, steps)
    assert found[-1] == steps * epochs
    assert asked - 1 <= len(found) <= asked + 1
