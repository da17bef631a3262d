"""e-BH and e-Bonferroni."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serving.experiment.many_metrics import e_bh, e_bonferroni

values = st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1e6), max_size=8)


def test_e_bh_rejects_up_to_the_largest_that_passes() -> None:
    found = {"a": 100.0, "b": 31.0, "c": 27.0, "d": 1.0}
    assert e_bh(found, 0.05) == {"a", "b", "c"}  # 3 x 27 >= 4 x 20
    assert e_bonferroni(found, 0.05) == {"a"}


def test_nothing_to_test_rejects_nothing() -> None:
    assert e_bh({}, 0.05) == frozenset()
    assert e_bonferroni({}, 0.05) == frozenset()


@given(values)
def test_e_bh_rejects_all_that_bonferroni_does(found: dict[str, float]) -> None:
    assert e_bonferroni(found, 0.05) <= e_bh(found, 0.05)


@given(values, st.floats(1, 10))
def test_larger_e_values_never_reject_fewer(found: dict[str, float], factor: float) -> None:
    assert e_bh(found, 0.05) <= e_bh({name: factor * value for name, value in found.items()}, 0.05)


@given(st.floats(0, 1e3))
def test_one_metric_needs_one_over_alpha(value: float) -> None:
    assert bool(e_bh({"a": value}, 0.05)) == (value * 0.05 >= 1)


def test_the_false_discovery_rate_is_kept_though_the_metrics_depend_on_each_other() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(4_000, 1))
    z = 0.9 * shared + np.sqrt(1 - 0.81) * rng.normal(size=(4_000, 5))
    e_values = np.exp(0.5 * z**2 * 8 / 9) / 3
    rejected = [bool(e_bh({str(at): value for at, value in enumerate(row)}, 0.05)) for row in e_values]
    assert np.mean(rejected) <= 0.05
