"""Several Envoys of one gateway are counted together, whatever becomes of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.rollout.envoy_totals import Counters, EnvoyTotals

STEP = st.tuples(st.sampled_from(["one", "two"]), st.booleans(), st.integers(0, 50), st.integers(0, 50))
"""Which Envoy, whether it is started anew before, and its requests since: failed ones and others."""


@given(st.lists(STEP, max_size=30))
def test_the_sum_is_of_all_requests_whoever_answered_and_whoever_was_started_anew(
    steps: list[tuple[str, bool, int, int]],
) -> None:
    totals, counts, due = EnvoyTotals(), {"one": (700, 70), "two": (3, 1)}, (0, 0)

    def told() -> dict[str, Counters]:
        return {
            each: Counters(0.0, done, failed, {10.0: failed, 100.0: done}) for each, (done, failed) in counts.items()
        }

    totals.add(told(), 0.0)
    for at, (name, anew, failed, well) in enumerate(steps, start=1):
        done, before = counts[name]
        if anew and (failed + well < done or failed < before):  # otherwise nobody can tell it from one that went on
            done, before = 0, 0
        counts[name] = (done + failed + well, before + failed)
        due = (due[0] + failed + well, due[1] + failed)
        found = totals.add(told(), float(at))
        assert (found.at, found.completed, found.failed) == (at, *due)
        assert found.buckets == pytest.approx({10.0: due[1], 100.0: due[0]})


def test_an_envoy_that_comes_later_began_with_nothing_and_one_that_is_gone_keeps_its_share() -> None:
    totals = EnvoyTotals()
    totals.add({"one": Counters(0.0, 100.0)}, 0.0)
    assert totals.add({"one": Counters(0.0, 110.0), "two": Counters(0.0, 5.0)}, 1.0).completed == 15
    assert totals.add({"two": Counters(0.0, 6.0)}, 2.0).completed == 16
    assert totals.add({"one": Counters(0.0, 2.0), "two": Counters(0.0, 6.0)}, 3.0).completed == 18


def test_an_envoy_that_is_back_with_as_many_requests_and_fewer_failures_was_started_anew() -> None:
    totals = EnvoyTotals()
    totals.add({"one": Counters(0.0)}, 0.0)
    totals.add({"one": Counters(0.0, 10.0, 8.0, {10.0: 2.0, 100.0: 10.0})}, 1.0)
    found = totals.add({"one": Counters(0.0, 12.0, 0.0, {10.0: 2.0, 100.0: 12.0})}, 2.0)
    assert (found.completed, found.failed, found.buckets) == (22, 8, {10.0: 4.0, 100.0: 22.0})
    found = totals.add({"one": Counters(0.0, 12.0, 0.0, {10.0: 0.0, 100.0: 12.0})}, 3.0)
    assert (found.completed, found.failed, found.buckets) == (34, 8, {10.0: 4.0, 100.0: 34.0})


def test_an_envoy_that_did_not_run_at_the_look_before_began_with_nothing() -> None:
    totals = EnvoyTotals()
    totals.add({"one": Counters(0.0, 10.0, 1.0)}, 0.0)
    totals.add({}, 1.0)
    found = totals.add({"one": Counters(0.0, 30.0, 2.0)}, 2.0)
    assert (found.completed, found.failed) == (30, 2)
