"""What is counted, and the expected effect of it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from serving.traffic.tally import Tally, expected_effects


def tally_of(seed: int, lift: float) -> Tally:
    """Two hundred users of four requests; the candidate's lists earn more than a random order by 1 + lift."""
    rng, tally = np.random.default_rng(seed), Tally(("click",))
    for user in range(200):
        arm = tally.arms["candidate" if user % 2 else "baseline"]
        for _ in range(4):
            shuffled = rng.gamma(2.0, 1.0, 1) * (1 + user % 5)
            gain = rng.normal(1.5, 0.1) * (1 + lift * (user % 2))
            arm.earn(f"u{user}", np.array([2]), shuffled * gain, shuffled)
    return tally


def test_the_expected_effect_finds_a_planted_lift_within_its_error() -> None:
    found = [expected_effects(tally_of(seed, 0.02))[0] for seed in range(40)]
    errors = np.array([(each.lift - 0.02) / each.error for each in found])
    assert abs(errors.mean()) < 4 / math.sqrt(40)
    assert 0.6 < errors.std() < 1.5
    assert all(each.error < 0.02 for each in found)  # users' own relevance, which varies fivefold, is taken out


def test_without_users_nothing_is_claimed() -> None:
    (effect,) = expected_effects(Tally(("click",)))
    assert math.isnan(effect.lift)
    assert math.isnan(effect.error)


def test_a_task_that_nothing_earns_has_no_lift() -> None:
    tally = Tally(("click",))
    for arm in tally.arms.values():
        for unit in ("a", "b"):
            arm.earn(unit, np.array([0]), np.zeros(1), np.zeros(1))
    (effect,) = expected_effects(tally)
    assert (effect.baseline, effect.candidate) == (0.0, 0.0)
    assert math.isnan(effect.lift)


def test_errors_are_counted_where_they_belong() -> None:
    tally = Tally(("click",))
    tally.of("candidate").answers.update({"ok": 3, "503": 2})
    tally.of(None).answers.update({"timeout": 1})
    assert (tally.answered, tally.errors) == (3, 3)
    assert (tally.arms["candidate"].requests, tally.arms["candidate"].errors) == (5, 2)
    tally.arms["candidate"].latency_s.extend([0.1, 0.2, 0.3])
    assert tally.arms["candidate"].quantiles_s()[0] == pytest.approx(0.2)
    assert all(math.isnan(value) for value in tally.nobody.quantiles_s())
