"""The invariants bite: each known way of getting decide() wrong is found by the same random lives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from serving.rollout import decide as decision
from serving.rollout import table
from serving.rollout.actions import Persist, Scale, SetWeights
from serving.rollout.view import View
from tests.serving.rollout.rollout_machine import Life

Mutant = Callable[[], AbstractContextManager[Any]]


def believes(**claims: object) -> Mutant:
    """A View that takes something for granted."""
    name, value = next(iter(claims.items()))
    return lambda: mock.patch.object(View, name, property(lambda _: value))


def without(*reasons: str) -> Mutant:
    """A table that lacks rules."""
    kept = tuple(rule for rule in table.TABLE if rule.reason not in reasons)
    assert len(kept) == len(table.TABLE) - len(reasons)
    return lambda: mock.patch.object(decision, "TABLE", kept)


def with_rule(reason: str, **changes: Any) -> Mutant:
    """A table with one rule changed."""
    changed = tuple(dataclasses.replace(rule, **changes) if rule.reason == reason else rule for rule in table.TABLE)
    assert changed != table.TABLE
    return lambda: mock.patch.object(decision, "TABLE", changed)


def with_actions(change: Callable[[list[Any]], list[Any]]) -> Mutant:
    """A decide() whose actions are disturbed afterwards."""
    honest = decision.decide

    def disturbed(*arguments: Any) -> Any:
        made = honest(*arguments)
        return dataclasses.replace(made, actions=tuple(change(list(made.actions))))

    return lambda: mock.patch("tests.serving.rollout.rollout_machine.decide", disturbed)


def replaced(name: str, value: Callable[..., Any]) -> Mutant:
    """Another function of serving.rollout.decide, or another method of View."""
    owner: Any = decision if hasattr(decision, name) else View
    return lambda: mock.patch.object(owner, name, value)


def status_first(actions: list[Any]) -> list[Any]:
    return sorted(actions, key=lambda action: not isinstance(action, Persist))


def scaling_first(actions: list[Any]) -> list[Any]:
    return sorted(actions, key=lambda action: not isinstance(action, Scale))


def cuts_at_once(view: View) -> dict[str, int]:
    return {"baseline": 4 if view.state.weight < 100 else 0, "candidate": view.need(view.state.weight)}


def halved(view: View) -> SetWeights | None:
    """Gets the candidate to 0 in two writes."""
    made = decision_weights(view)
    seen = view.facts.router.weight or 0
    if made is None or made.candidate > 0 or seen < 10:
        return made
    return dataclasses.replace(made, candidate=seen // 2)


decision_weights = decision._weights
decision_entered = decision._entered


def entered_in_place(*arguments: Any) -> Any:
    after = decision_entered(*arguments)
    return after.model_copy(update={"stratum": max(1, arguments[0].state.stratum)})


MUTANTS: dict[str, Mutant] = {
    "1: the cap is ignored": believes(step_limit=50),
    "1: the weight follows the last step at once": believes(next_limit=100),
    "2: readiness is taken for granted": replaced("ready", lambda *_: True),
    "3: baseline replicas are cut with its weight": replaced("_floors", cuts_at_once),
    "3: scaling comes before the weights": with_actions(scaling_first),
    "4: abort is ignored": without("Aborted"),
    "4: abort only pauses": with_rule("Aborted", target="Paused", changes=lambda _: {}),
    "4: the status is written before the router": with_actions(status_first),
    "4: two writes to 0": replaced("_weights", halved),
    "4: a breach is ignored": without("GuardrailBreached"),
    "4: harm is ignored": without("HarmShown"),
    "4: a rollback that was cut short is forgotten": without("RollbackResumed"),
    "5: the baseline is always thought alive": believes(baseline_is_dead=False),
    "6: what cannot be seen is fine": believes(blind=()),
    "6: evidence is always good": believes(blind_evidence=()),
    "6: too few requests are enough": believes(waiting=()),
    "6: steps take no time": believes(dwell=()),
    "7: a new digest goes on where the old one was": with_rule("NewRun", changes=lambda view: {"run": view.state.run}),
    "7: digests are not looked at": without("NewRun"),
    "8: a stratum goes on under another weight": replaced("_entered", entered_in_place),
    "10: the alarm is not looked at": believes(alarm_is_open=False),
    "10: any acknowledgement will do": with_rule("AlarmAcknowledged", guard=lambda v: "1" if v.alarm_is_open else None),
    "11: a rule that never rests": with_rule("Resumed", guard=lambda _: "1", sources=table.ALL),
    "12: obstacles are overlooked, a pause among them": believes(obstacles=()),
    "12: the router of another rollout is taken": replaced("_is_ours", lambda _: True),
    "14: the state is not written": with_actions(lambda actions: [a for a in actions if not isinstance(a, Persist)]),
    "15: an end is not the end": with_rule("Paused", sources=table.ALL),
    "15: Events are left out": with_actions(lambda actions: [a for a in actions if type(a).__name__ != "Announce"]),
    "16: deletion waits for the router for ever": replaced("_release", lambda _: []),
    "17: the verdict's word is enough": believes(won=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_decide_is_found(name: str) -> None:
    """The sentence begins with the number of the invariant that the mutant breaks; any invariant may find it first."""
    with MUTANTS[name](), pytest.raises(AssertionError, match="invariant"):
        run_state_machine_as_test(
            Life,
            settings=settings(
                max_examples=400,
                stateful_step_count=40,
                deadline=None,
                derandomize=True,
                report_multiple_bugs=False,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
