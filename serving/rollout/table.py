"""The table of transitions. decide() executes it from the top; docs/rollout-states.md is printed from it.

A rule whose target is None leaves the phase as it is; it is a transition all the same, with its Event and its line in
the history. Falls come before rises, and a person's wish to stop before everything that goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from serving.rollout import guards_fall as fall
from serving.rollout import guards_hold as hold
from serving.rollout import guards_rise as rise
from serving.rollout.state import TERMINAL, UNDER_TRAFFIC, Phase
from serving.rollout.view import View

ALL: frozenset[Phase] = frozenset(
    {"Pending", "Validating", "Ramping", "Paused", "Promoting", "Succeeded", "RollingBack", "RolledBack", "Failed"}
)


def _no_changes(_: View) -> Mapping[str, object]:
    return {}


@dataclass(frozen=True)
class Rule:
    """One line of the table."""

    reason: str
    """The transition's name in conditions, Events and history."""
    sources: frozenset[Phase]
    target: Phase | None
    when: str
    """The guard in words, for people."""
    guard: Callable[[View], str | None]
    """The message with its numbers; None: not now."""
    changes: Callable[[View], Mapping[str, object]] = _no_changes
    """Fields of the state that change besides phase and reason."""
    warning: bool = False
    """Whether the Event is a warning."""


def _phases(*phases: Phase) -> frozenset[Phase]:
    return frozenset(phases)


TABLE: tuple[Rule, ...] = (
    Rule(
        "Deleted",
        ALL - TERMINAL - {"Pending"},
        "RollingBack",
        "the resource is being deleted",
        fall.deleted,
        fall.to_zero,
    ),
    Rule(
        "NewRun",
        ALL,
        "Validating",
        "the digests behind baseline and candidate, or the attempt, are not those of the run",
        fall.new_run,
        fall.begin,
    ),
    Rule(
        "Aborted",
        UNDER_TRAFFIC | {"Validating"},
        "RollingBack",
        "`abort` is true",
        fall.aborted,
        fall.to_zero,
        warning=True,
    ),
    Rule(
        "GuardrailBreached",
        UNDER_TRAFFIC,
        "RollingBack",
        "a guardrail with its least number of requests is beyond its limit",
        fall.breached,
        fall.to_zero,
        warning=True,
    ),
    Rule("HarmShown", UNDER_TRAFFIC, "RollingBack", "the verdict is `harm`", fall.harmed, fall.to_zero, warning=True),
    Rule(
        "CandidateLost",
        UNDER_TRAFFIC,
        "RollingBack",
        "the candidate has traffic and no ready replica",
        fall.candidate_lost,
        fall.to_zero,
        warning=True,
    ),
    Rule(
        "WrongModel",
        UNDER_TRAFFIC,
        "RollingBack",
        "the candidate has traffic and serves another digest than the run's",
        fall.wrong_model,
        fall.to_zero,
        warning=True,
    ),
    Rule(
        "BlindTooLong",
        UNDER_TRAFFIC,
        "RollingBack",
        "a measure has been missing, stale, unknown or not a number for `whenBlind.seconds`",
        fall.blind,
        fall.to_zero,
        warning=True,
    ),
    Rule(
        "DeadlineExceeded",
        _phases("Ramping"),
        "RollingBack",
        "`deadlineSeconds` have passed since the ramp began, and `onDeadline` is RollBack",
        fall.overdue,
        fall.to_zero,
        warning=True,
    ),
    Rule(
        "RollbackResumed",
        UNDER_TRAFFIC,
        "RollingBack",
        "the router is at 0 % in a later stratum than the status: a rollback was cut short after its first write",
        fall.router_ahead,
        fall.to_zero,
        warning=True,
    ),
    Rule(
        "ValidationFailed",
        _phases("Validating"),
        "RollingBack",
        "`validateSeconds` have passed and the first step is still not possible",
        fall.invalid,
        fall.to_failure,
        warning=True,
    ),
    Rule(
        "Unresolved",
        _phases("Pending"),
        "Failed",
        "`validateSeconds` have passed and the models are still not known",
        fall.never_resolved,
        warning=True,
    ),
    Rule(
        "SampleRatioBroken",
        UNDER_TRAFFIC,
        None,
        "the sequential sample ratio test is below its limit",
        hold.ratio_broken,
        hold.raise_alarm,
        warning=True,
    ),
    Rule(
        "AlarmAcknowledged",
        UNDER_TRAFFIC,
        None,
        "`acknowledge` names the open alarm",
        hold.acknowledged,
        hold.acknowledge,
    ),
    Rule("Capped", _phases("Ramping", "Paused"), None, "`maxWeight` is below the weight", hold.capped, hold.to_cap),
    Rule(
        "CappedInPromotion",
        _phases("Promoting"),
        "Ramping",
        "`maxWeight` is below the weight",
        hold.capped,
        hold.to_cap,
    ),
    Rule("Paused", _phases("Ramping"), "Paused", "`paused` is true", hold.paused),
    Rule("Resumed", _phases("Paused"), "Ramping", "`paused` is false", hold.resumed),
    Rule(
        "WeightSet",
        _phases("Ramping", "Paused"),
        None,
        "`weightOverride` names this run and another weight; upwards only onto ready replicas",
        hold.overridden,
        hold.to_override,
    ),
    Rule(
        "WeightSetInPromotion",
        _phases("Promoting"),
        "Ramping",
        "`weightOverride` names this run; upwards only onto ready replicas",
        hold.overridden,
        hold.to_override,
    ),
    Rule("OverrideLifted", _phases("Ramping", "Paused"), None, "`weightOverride` is gone", hold.lifted, hold.to_step),
    Rule(
        "Started",
        _phases("Validating"),
        "Ramping",
        "both arms serve their digests on enough replicas, the router is at 0 %, every measure can be asked",
        rise.started,
        rise.first_step,
    ),
    Rule(
        "PromotedByPerson",
        _phases("Ramping"),
        "Promoting",
        "`promote` names this run; nothing is missing, blind or alarmed",
        rise.promoted_by_person,
    ),
    Rule(
        "Proven",
        _phases("Ramping"),
        "Promoting",
        "the last step has had its time and units and the verdict is `win`; `promotion.mode` is Auto",
        rise.proven,
    ),
    Rule(
        "WeightRestored",
        _phases("Ramping"),
        None,
        "the weight is below the step's, for a reason that is gone",
        hold.restored,
        hold.at_step,
    ),
    Rule(
        "StepUp",
        _phases("Ramping"),
        None,
        "the step has had its time and units, nothing is missing, blind, alarmed or harmed, and the candidate has the "
        "replicas for the next",
        rise.stepped,
        rise.next_step,
    ),
    Rule(
        "FullWeight",
        _phases("Promoting"),
        None,
        "the candidate has the replicas for all traffic",
        rise.full_weight,
        rise.to_full,
    ),
    Rule(
        "Succeeded",
        _phases("Promoting"),
        "Succeeded",
        "`promotion.bakeSeconds` at 100 % under guard, seen at the router",
        rise.baked,
    ),
    Rule(
        "RolledBack",
        _phases("RollingBack"),
        "RolledBack",
        "the router was read back with 0 % for the candidate (after a failed validation: Failed)",
        fall.rolled_back,
    ),
)
