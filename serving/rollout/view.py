"""One look at spec, state, readings, facts and clock, and what follows from them. Every guard of the table asks it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from serving.gateway.assignment import Arm
from serving.rollout.facts import Clock, Facts
from serving.rollout.readings import Readings
from serving.rollout.sight import Look, evidence_faults, look
from serving.rollout.spec import ModelRolloutSpec, Step
from serving.rollout.spec_measures import Guardrail
from serving.rollout.state import UNDER_TRAFFIC, Alarm, State, candidate_of, run_id


@dataclass(frozen=True)
class View:
    """Arguments of decide(), and words and numbers made of them."""

    spec: ModelRolloutSpec
    state: State
    readings: Readings
    facts: Facts
    clock: Clock

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self.clock.now

    def since(self, moment: float | None) -> float:
        """Seconds since a remembered moment; 0 for none and for one that lies ahead."""
        return 0.0 if moment is None else max(0.0, self.now - moment)

    # The models that are meant

    @cached_property
    def wanted_run(self) -> tuple[str, str, str] | None:
        """(run id, baseline digest, candidate digest) that the spec means now; None: not known, or one model twice."""
        baseline, candidate = self.facts.baseline_digest, self.facts.candidate_digest
        if baseline is None or candidate is None or baseline == candidate:
            return None
        return run_id(baseline, candidate, self.spec.attempt), baseline, candidate

    def digest(self, arm: Arm) -> str | None:
        """The digest that an arm is to serve in this run."""
        if self.state.run is None:
            return None
        return self.state.run.baseline if arm == "baseline" else self.state.run.candidate

    # Steps

    @property
    def step(self) -> Step:
        """The present step."""
        return self.spec.steps[min(self.state.step, len(self.spec.steps) - 1)]

    @property
    def on_last_step(self) -> bool:
        """Whether promotion is what comes next."""
        return self.state.step >= len(self.spec.steps) - 1

    @property
    def step_limit(self) -> int:
        """The weight that the present step and maxWeight allow."""
        return min(self.step.weight, self.spec.max_weight)

    @property
    def next_limit(self) -> int:
        """The weight that the step after allows."""
        place = min(self.state.step + 1, len(self.spec.steps) - 1)
        return min(self.spec.steps[place].weight, self.spec.max_weight)

    @property
    def override(self) -> int | None:
        """The weight that a person wants in this run, cut to maxWeight."""
        wish = self.spec.weight_override
        if wish is None or self.state.run is None or wish.run != self.state.run.id:
            return None
        return min(wish.weight, self.spec.max_weight)

    @property
    def units(self) -> int:
        """Units of the smaller arm at the present weight."""
        if self.readings.stratum != self.state.stratum:
            return 0
        return min(self.readings.baseline_units, self.readings.candidate_units)

    # Capacity

    def need(self, weight: int) -> int:
        """Replicas that carry `weight` percent of the traffic; an arm needs one at least."""
        return max(1, math.ceil(self.spec.capacity.replicas * weight / 100))

    def ready(self, arm: Arm, weight: int) -> bool:
        """Whether an arm serves the run's model, and nothing else, on enough replicas for `weight` percent."""
        facts = self.facts.arm(arm)
        return (
            facts.ready is not None
            and facts.ready >= self.need(weight)
            and facts.serving == frozenset({self.digest(arm)})
        )

    def unready(self, arm: Arm, weight: int) -> str:
        """Why an arm is not ready, in words."""
        facts = self.facts.arm(arm)
        if facts.ready is None:
            return f"readiness of the {arm} is unknown"
        if facts.ready < self.need(weight):
            return f"{arm} has {facts.ready} of {self.need(weight)} ready replicas that {weight} % need"
        return self.served(arm)

    def served(self, arm: Arm) -> str:
        """What an arm serves, and what it should."""
        serving = self.facts.arm(arm).serving
        named = "an unknown model" if serving is None else ", ".join(sorted(each[:12] for each in serving)) or "nothing"
        return f"{arm} serves {named}, not {(self.digest(arm) or 'a model of a run')[:12]}"

    @property
    def baseline_is_dead(self) -> bool:
        """Known: nobody would answer on the baseline, and the candidate does."""
        return self.facts.baseline.ready == 0 and (self.facts.candidate.ready or 0) > 0

    # The router

    @property
    def settled(self) -> bool:
        """Whether the router has exactly what was asked for."""
        router = self.facts.router
        return (
            self.state.run is not None
            and router.owner == "self"
            and router.weight == self.state.weight
            and router.run == self.state.run.id
            and router.stratum == self.state.stratum
        )

    @property
    def router_is_ahead(self) -> bool:
        """Whether the router has a later stratum of this run than the status that was read."""
        router, run = self.facts.router, self.state.run
        ours = run is not None and router.owner == "self" and router.run == run.id
        return ours and (router.stratum or 0) > self.state.stratum

    @cached_property
    def in_production(self) -> str | None:
        """Why this run may not write its first 0 %: all traffic is on the candidate of an earlier run, and the arm that
        would get it is not fit for it. None: nothing stands against that write."""
        router, run = self.facts.router, self.state.run
        if run is None or router.weight != 100 or router.run is None or router.owner == "other":
            return None
        promoted, mine = candidate_of(router.run), router.owner == "self"
        if promoted is None or (mine and router.run == run.id):
            return None
        told = f"all traffic is on {promoted}, the candidate of run {router.run}"
        again = mine and run.candidate.startswith(promoted)  # another attempt of this rollout's own pair
        if not (again or run.baseline.startswith(promoted)):
            return f"{told}, and the baseline is another model: name that one as baseline"
        return None if self.ready("baseline", 100) else f"{told}, and stays there: {self.unready('baseline', 100)}"

    @property
    def had_traffic(self) -> bool:
        """Whether a candidate of this rollout was given traffic since the last promotion, as far as is remembered."""
        given = [each for each in self.state.history if each.weight > 0]
        return bool(given) and given[-1].target in UNDER_TRAFFIC

    # Measures

    @property
    def of_this_run(self) -> bool:
        """Whether the evidence is of this run."""
        return self.state.run is not None and self.readings.run == self.state.run.id

    @cached_property
    def blind(self) -> tuple[str, ...]:
        """What cannot be seen, in words; while there is any, the weight is held."""
        found: list[str] = []
        if self.facts.router.owner == "other":
            found.append(f"the router belongs to another rollout ({self.facts.router.run})")
        elif self.facts.router.weight is None:
            found.append("the router cannot be read")
        if self.router_is_ahead:
            stratum = self.facts.router.stratum
            found.append(f"the router is in stratum {stratum}, after this status' {self.state.stratum}")
        arms: tuple[Arm, ...] = ("baseline", "candidate")
        found += [f"readiness of the {arm} is unknown" for arm in arms if self.facts.arm(arm).ready is None]
        serving = self.facts.baseline.serving
        if serving and serving != {self.digest("baseline")}:
            found.append(self.served("baseline"))
        return (*found, *self.blind_evidence, *self.blind_guardrails)

    @cached_property
    def blind_evidence(self) -> tuple[str, ...]:
        """What cannot be seen of the evidence."""
        run = None if self.state.run is None else self.state.run.id
        return evidence_faults(self.spec, self.readings, run, self.now)

    @cached_property
    def blind_guardrails(self) -> tuple[str, ...]:
        """Guardrails that cannot be read, with the reason."""
        found = ((each, self._look(each).fault) for each in self.spec.guardrails)
        return tuple(f"guardrail {each.name}: {fault}" for each, fault in found if fault is not None)

    @cached_property
    def waiting(self) -> tuple[str, ...]:
        """Guardrails that have too few requests to speak."""
        return tuple(filter(None, (self._look(each).waiting for each in self.spec.guardrails)))

    @cached_property
    def breaches(self) -> tuple[str, ...]:
        """Guardrails that are broken, with their numbers."""
        return tuple(filter(None, (self._look(each).breach for each in self.spec.guardrails)))

    def _look(self, guardrail: Guardrail) -> Look:
        return look(guardrail, self.readings.guardrail(guardrail.name), self.now)

    @property
    def harmed(self) -> bool:
        """Harm that was shown for this run; it stays shown when the evidence grows old."""
        return self.of_this_run and self.readings.problem is None and self.readings.verdict == "harm"

    @cached_property
    def won(self) -> bool:
        """A win that every proof bears out; the verdict's word alone is not enough.

        The proofs are those of the tests themselves and not of the lifts: a baseline at 0 or below has none.
        """
        if self.blind or self.readings.verdict != "win":
            return False
        decisive = (metric for metric in self.spec.metrics if metric.role != "Secondary")
        readings = (self.readings.metric(metric.name) for metric in decisive)
        return all(reading is not None and reading.proof > 0 for reading in readings)

    # The sample ratio

    @property
    def alarm_is_open(self) -> bool:
        """Whether an alarm waits for a person."""
        return self.state.alarm is not None and not self.state.alarm.acknowledged

    @property
    def alarm_limit(self) -> float:
        """p-value below which a new alarm is raised.

        After an acknowledged alarm the sequential p-value never rises again, so the next one asks for evidence that
        has grown by as much again: the ratio of a test martingale to its earlier value is a test martingale too.
        """
        alarm: Alarm | None = self.state.alarm
        return self.spec.analysis.sample_ratio_alpha * (1.0 if alarm is None else alarm.p_value)

    # Why the ramp does not go on

    @cached_property
    def obstacles(self) -> tuple[str, ...]:
        """What stands against giving the candidate more, whatever the reason for more."""
        found = []
        if self.spec.paused:
            found.append("paused")
        if self.alarm_is_open and self.state.alarm is not None:
            found.append(f"sample ratio alarm {self.state.alarm.id} is not acknowledged")
        if self.override is not None:
            found.append(f"weight set to {self.override} by a person")
        if not self.settled:
            found.append(f"the router has {self.facts.router.weight} %, not yet {self.state.weight} %")
        return (*found, *self.blind, *self.waiting, *self.breaches)

    @cached_property
    def dwell(self) -> tuple[str, ...]:
        """What the present step still lacks."""
        found = []
        seconds = self.since(self.state.confirmed_at)
        if self.state.confirmed_at is None or seconds < self.step.min_seconds:
            found.append(f"{seconds:.0f} of {self.step.min_seconds} s at {self.state.weight} %")
        if self.units < self.step.min_units:
            found.append(f"{self.units} of {self.step.min_units} units in the smaller arm at {self.state.weight} %")
        if self.state.weight < self.step_limit:
            found.append(f"weight {self.state.weight} is below the step's {self.step_limit}")
        return tuple(found)
