"""Judges every decision by the invariants of experiment.md, from the raw inputs: nothing of View is used here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from serving.rollout.actions import Action, Announce, Decision, Persist, Release, Scale, SetWeights
from serving.rollout.facts import ArmFacts, Clock, Facts
from serving.rollout.readings import Readings
from serving.rollout.spec import ModelRolloutSpec
from serving.rollout.state import State

TRAFFIC = {"Ramping", "Paused", "Promoting"}
OVER = {"Succeeded", "RolledBack", "Failed"}


class ViolationError(AssertionError):
    """An invariant, by its number, and what broke it."""


def demand(invariant: int, holds: bool, what: str) -> None:
    if not holds:
        raise ViolationError(f"invariant {invariant}: {what}")


@dataclass(frozen=True)
class Question:
    """What decide() was asked."""

    spec: ModelRolloutSpec
    before: State
    readings: Readings
    facts: Facts
    clock: Clock


class Auditor:
    """Remembers what was done, so that it can tell what may not be done any more."""

    def __init__(self) -> None:
        self.given_up: set[tuple[str, int]] = set()
        """Runs that were rolled back, with the stratum of their end."""
        self.strata: dict[int, tuple[str, int]] = {}

    def judge(self, question: Question, decision: Decision) -> None:
        """Raises ViolationError."""
        spec, before, facts, clock = question.spec, question.before, question.facts, question.clock
        after = decision.state
        self._weights(spec, before, facts, decision)
        self._rises(question, decision)
        self._falls(question, decision)
        self._scaling(spec, facts, decision)
        self._runs(spec, before, facts, after)
        self._alarm(spec, before, after)
        self._history(before, decision)
        self._deletion(before, facts, clock, decision)

    def note(self, action: Action, decision: Decision) -> None:
        """An action that was carried out, and the decision that it is part of."""
        after = decision.state
        if isinstance(action, SetWeights):
            self.strata[action.stratum] = (action.run, action.candidate)
        if isinstance(action, SetWeights | Persist) and after.phase == "RollingBack" and after.run is not None:
            self.given_up.add((after.run.id, after.run.attempt))

    def _weights(self, spec: ModelRolloutSpec, before: State, facts: Facts, decision: Decision) -> None:
        for action in decision.actions:
            if not isinstance(action, SetWeights):
                continue
            demand(1, 0 <= action.candidate <= 100 and action.candidate + action.baseline == 100, f"weights {action}")
            rises = facts.router.weight is None or action.candidate > facts.router.weight
            after = decision.state
            if rises and action.candidate > 0 and after.phase != "Succeeded":
                limit = 100 if after.phase == "Promoting" else spec.steps[after.step].weight
                if spec.weight_override is not None and after.overridden:
                    limit = spec.weight_override.weight
                demand(1, action.candidate <= min(limit, spec.max_weight), f"{action} above {limit}, {spec.max_weight}")
            demand(4, action.candidate == 0 or not self._is_given_up(after), f"{action} after a rollback of its run")
            known = self.strata.get(action.stratum, (action.run, action.candidate))
            demand(8, known == (action.run, action.candidate), f"stratum {action.stratum} twice: {known}, {action}")
            demand(12, facts.router.owner != "other", f"{action} on a router of another rollout")

    def _is_given_up(self, state: State) -> bool:
        return state.run is not None and (state.run.id, state.run.attempt) in self.given_up

    def _rises(self, question: Question, decision: Decision) -> None:
        spec, before, readings = question.spec, question.before, question.readings
        facts, clock, after = question.facts, question.clock, decision.state
        for action in decision.actions:
            if isinstance(action, SetWeights) and action.candidate > (facts.router.weight or 0):
                demand(2, _enough(spec, facts.candidate, action.candidate), f"{action} with {facts.candidate}")
                demand(
                    2,
                    facts.candidate.serving == frozenset({after.run.candidate if after.run else ""}),
                    f"{action}: wrong model",
                )
        by_person = after.reason == "WeightSet"
        wants_more = after.seq > before.seq and (
            after.weight > before.weight or (after.phase in {"Promoting", "Succeeded"} and after.phase != before.phase)
        )
        if not wants_more or by_person:
            return
        demand(12, not spec.paused, f"{after.reason} while paused")
        demand(10, before.alarm is None or before.alarm.acknowledged, f"{after.reason} under an open alarm")
        demand(6, _evidence_seen(spec, before, readings, clock), f"{after.reason} on {readings}")
        if before.phase != "Validating":
            demand(6, _guardrails_pass(spec, readings, clock), f"{after.reason} with guardrails {readings.guardrails}")
        if after.reason in {"StepUp", "Proven"}:
            step = spec.steps[before.step]
            lived = 0.0 if before.confirmed_at is None else clock.now - before.confirmed_at - clock.jumped
            units = min(readings.baseline_units, readings.candidate_units) if readings.stratum == before.stratum else 0
            demand(6, lived >= step.min_seconds - 1e-3, f"{after.reason} after {lived} of {step.min_seconds} s")
            demand(6, units >= step.min_units, f"{after.reason} after {units} of {step.min_units} units")
        if after.phase == "Promoting" and after.reason != "PromotedByPerson" and before.phase != "Promoting":
            demand(17, readings.verdict == "win" and _borne_out(spec, readings), f"promotion on {readings}")
            demand(17, spec.promotion.mode == "Auto", "promotion without a person in manual mode")

    def _falls(self, question: Question, decision: Decision) -> None:
        spec, before, readings = question.spec, question.before, question.readings
        facts, clock, after = question.facts, question.clock, decision.state
        reachable = facts.router.owner != "other"
        stands = (facts.router.weight, facts.router.owner) != (0, "self")
        dead = facts.baseline.ready == 0 and (facts.candidate.ready or 0) > 0
        new_run = after.run != before.run and after.reason == "NewRun"
        if spec.abort and before.phase in TRAFFIC | {"Validating"} and not new_run:
            demand(4, after.phase == "RollingBack" and after.weight == 0, f"abort led to {after.phase}")
            first = decision.actions[0] if decision.actions else None
            # What never had traffic is not written blindly: the router may be on a model that another run promoted.
            blind = before.phase == "Validating" and facts.router.weight is None
            demand(4, not (reachable and stands) or blind or first == _zero(after), f"abort began with {first}")
        if before.phase in TRAFFIC and _breached(spec, readings, clock) and not new_run:
            demand(4, after.phase == "RollingBack" and after.weight == 0, f"breach led to {after.phase}")
            first = decision.actions[0] if decision.actions else None
            demand(4, not (reachable and stands) or dead or first == _zero(after), f"breach began with {first}")
        of_this_run = before.run is not None and readings.run == before.run.id and readings.problem is None
        if before.phase in TRAFFIC and readings.verdict == "harm" and of_this_run:
            demand(4, after.weight == 0, f"harm led to {after.phase} at {after.weight}")
        ahead = (
            facts.router.weight == 0 and (facts.router.stratum or 0) > before.stratum and facts.router.owner == "self"
        )
        if ahead and before.phase in TRAFFIC and before.run is not None and facts.router.run == before.run.id:
            demand(11, after.weight == 0, f"a rollback that was cut short led to {after.phase} at {after.weight}")
        for action in decision.actions:
            if isinstance(action, SetWeights) and action.candidate < (facts.router.weight or 0) and dead:
                demand(5, after.reason == "Aborted", f"{action} leaves the last healthy arm")

    def _scaling(self, spec: ModelRolloutSpec, facts: Facts, decision: Decision) -> None:
        after = decision.state
        for place, action in enumerate(decision.actions):
            if not isinstance(action, Scale):
                continue
            earlier = decision.actions[:place]
            demand(
                3,
                all(not isinstance(later, SetWeights) for later in decision.actions[place:]),
                "scaling before weights",
            )
            present = facts.arm(action.arm).floor
            if present is None or action.replicas >= present:
                continue
            weight = facts.router.weight
            demand(3, weight is not None, "a cut while the router is unknown")
            share = weight if action.arm == "candidate" else 100 - (weight or 0)
            enough = action.replicas >= _need(spec, share or 0) if share else True
            demand(3, enough, f"{action} at {share} % of the traffic, after {earlier}")
            if action.arm == "baseline":
                demand(
                    3, after.phase == "Succeeded" and _enough(spec, facts.candidate, 100), f"{action} in {after.phase}"
                )

    def _runs(self, spec: ModelRolloutSpec, before: State, facts: Facts, after: State) -> None:
        baseline, candidate = facts.baseline_digest, facts.candidate_digest
        if baseline is None or candidate is None or baseline == candidate or facts.deleted_at is not None:
            return
        demand(7, after.run is not None, "no run")
        assert after.run is not None
        meant = (baseline, candidate, spec.attempt)
        demand(
            7, (after.run.baseline, after.run.candidate, after.run.attempt) == meant, f"run {after.run}, not {meant}"
        )
        if before.run is None or (before.run.baseline, before.run.candidate, before.run.attempt) != meant:
            demand(7, after.weight == 0 and after.step == 0 and after.alarm is None, f"a new run begins with {after}")
            demand(8, after.stratum > before.stratum, "a new run shares a stratum with the old one")

    def _alarm(self, spec: ModelRolloutSpec, before: State, after: State) -> None:
        if before.alarm is None or before.alarm.acknowledged or after.reason == "NewRun":
            return
        demand(10, after.alarm is not None and after.alarm.id == before.alarm.id, "an open alarm went away")
        acknowledged = after.alarm is not None and after.alarm.acknowledged
        demand(10, not acknowledged or spec.acknowledge == before.alarm.id, "an alarm was acknowledged by nobody")

    def _history(self, before: State, decision: Decision) -> None:
        after = decision.state
        demand(
            14, State.model_validate_json(after.model_dump_json(by_alias=True)) == after, "the state is not its JSON"
        )
        demand(15, after.seq - before.seq in {0, 1}, f"{after.seq - before.seq} transitions at once")
        changed = (after.phase, after.step, after.weight, after.run and after.run.id) != (
            before.phase, before.step, before.weight, before.run and before.run.id
        )  # fmt: skip
        demand(15, not changed or after.seq == before.seq + 1, "a change without a transition")
        events = [action.transition for action in decision.actions if isinstance(action, Announce)]
        demand(
            15, [each.seq for each in events] == list(range(before.announced + 1, after.seq + 1)), f"events {events}"
        )
        numbers = all(any(mark.isdigit() for mark in each.message) for each in events)
        demand(15, numbers, f"an event without numbers: {events}")
        if before.phase in OVER and after.reason != "NewRun":
            demand(
                15, (after.phase, after.weight) == (before.phase, before.weight), f"{before.phase} became {after.phase}"
            )
        persisted = [action.state for action in decision.actions if isinstance(action, Persist)]
        demand(14, after == before or persisted[-1:] == [after], "the state is not kept")

    def _deletion(self, before: State, facts: Facts, clock: Clock, decision: Decision) -> None:
        released = any(isinstance(action, Release) for action in decision.actions)
        if facts.deleted_at is None:
            demand(16, not released, "released without deletion")
            return
        late = clock.now - facts.deleted_at >= 120
        demand(16, released or not late, "the deletion hangs")
        at_rest = facts.router.weight == 0 or facts.router.owner == "other" or before.run is None
        demand(16, not released or late or at_rest or before.phase in OVER, "released with traffic on the candidate")


def _zero(after: State) -> SetWeights:
    return SetWeights(candidate=0, stratum=after.stratum, run=after.run.id if after.run else "")


def _need(spec: ModelRolloutSpec, weight: int) -> int:
    return max(1, math.ceil(spec.capacity.replicas * weight / 100))


def _enough(spec: ModelRolloutSpec, arm: ArmFacts, weight: int) -> bool:
    return arm.ready is not None and arm.ready >= _need(spec, weight)


def _evidence_seen(spec: ModelRolloutSpec, before: State, readings: Readings, clock: Clock) -> bool:
    if readings.problem or before.run is None or readings.run != before.run.id or readings.as_of is None:
        return False
    if clock.now - readings.as_of > spec.analysis.stale_seconds or readings.sample_ratio_p is None:
        return False
    names = {reading.name for reading in readings.metrics if not math.isnan(reading.estimate or 0.0)}
    return names >= {metric.name for metric in spec.metrics} and not math.isnan(readings.sample_ratio_p)


def _guardrails_pass(spec: ModelRolloutSpec, readings: Readings, clock: Clock) -> bool:
    for guardrail in spec.guardrails:
        reading = readings.guardrail(guardrail.name)
        if reading is None or reading.value is None or reading.at is None or reading.samples is None or reading.problem:
            return False
        fresh = clock.now - reading.at <= guardrail.stale_seconds
        limit = guardrail.max if guardrail.max is not None else math.inf
        if not fresh or reading.samples < guardrail.min_requests or not reading.value <= limit:
            return False
    return True


def _breached(spec: ModelRolloutSpec, readings: Readings, clock: Clock) -> bool:
    """A breach that nobody can doubt: fresh, counted, above the limit."""
    for guardrail in spec.guardrails:
        reading = readings.guardrail(guardrail.name)
        if reading is None or reading.problem or reading.value is None or reading.samples is None or reading.at is None:
            continue
        fresh = 0 <= clock.now - reading.at <= guardrail.stale_seconds and reading.value < math.inf
        if fresh and reading.samples >= guardrail.min_requests and reading.value > (guardrail.max or math.inf):
            return True
    return False


def _borne_out(spec: ModelRolloutSpec, readings: Readings) -> bool:
    for metric in spec.metrics:
        reading = readings.metric(metric.name)
        if reading is None:
            return False
        if metric.role != "Secondary" and not reading.proof > 0:
            return False
    return True
