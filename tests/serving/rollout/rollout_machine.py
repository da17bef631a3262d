"""Random lives of a rollout: the world changes, people steer, the clock jumps, the operator dies between two writes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from serving.rollout.actions import SetWeights
from serving.rollout.decide import decide
from serving.rollout.facts import RouterFacts
from serving.rollout.readings import MetricReading
from serving.rollout.state import Phase
from tests.serving.rollout.rollout_auditor import Auditor, Question
from tests.serving.rollout.rollout_world import BASELINE, CANDIDATE, World, spec_with

NAN = math.nan
OTHERS = ("d" * 64, "e" * 64)


class Life(RuleBasedStateMachine):
    """One rollout from creation on. The auditor judges every decision."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.auditor = Auditor()

    @initialize(
        manual=st.booleans(),
        hold=st.booleans(),
        manage=st.booleans(),
        max_weight=st.sampled_from([100, 100, 100, 50, 10]),
    )
    def create(self, manual: bool, hold: bool, manage: bool, max_weight: int) -> None:
        self.world.spec = spec_with(
            promotion={"mode": "Manual" if manual else "Auto", "bakeSeconds": 60},
            whenBlind={"seconds": 300, "action": "Hold" if hold else "RollBack"},
            capacity={"replicas": 4, "manage": manage},
            maxWeight=max_weight,
        )

    # The operator

    def decided(self, up_to: int | None = None) -> int:
        """One decision, judged and carried out; returns how many of its actions changed anything."""
        world = self.world
        if world.released:
            return 0
        asked = Question(world.spec, world.remembered(), world.readings(), world.facts(), world.clock())
        decision = decide(asked.spec, asked.before, asked.readings, asked.facts, asked.clock)
        again = decide(asked.spec, asked.before, asked.readings, asked.facts, asked.clock)
        assert decision == again, "invariant 11: the same question, two answers"
        self.auditor.judge(asked, decision)
        for action in decision.actions[:up_to]:
            if world.do(action):
                self.auditor.note(action, decision)
        lost = () if world.router_readable else (SetWeights,)  # a rollback knocks at a router that does not answer
        return sum(not isinstance(action, lost) for action in decision.actions)

    def settled(self) -> None:
        """Decisions until nothing is left to do. They must come to an end without anything else happening."""
        for _ in range(12):
            if self.decided() == 0:
                return
        raise AssertionError("invariant 11: the loop does not come to rest")

    @rule()
    def reconcile(self) -> None:
        self.settled()

    @rule(writes=st.integers(0, 4))
    def crash_after(self, writes: int) -> None:
        self.decided(up_to=writes)

    @rule(seconds=st.sampled_from([1, 10, 61, 121, 301, 2000]))
    def time_goes_by(self, seconds: int) -> None:
        self.world.now += seconds
        self.settled()

    @rule()
    def dies_after_the_first_write_of_a_rollback(self) -> None:
        """And the breach is gone when the operator is back."""
        self.people_let_it_be()
        self.all_goes_well(units=600, rounds=2, won=False, requests=10_000)
        self.world.errors, self.world.requests, self.world.guardrail_age = 0.5, 10_000, 1.0
        self.world.guardrail_problem = None
        self.decided(up_to=1)
        self.world.errors = 0.001
        self.settled()

    @rule()
    def both_arms_break(self) -> None:
        """The baseline has no replica left when the candidate breaches."""
        self.people_let_it_be()
        self.all_goes_well(units=600, rounds=2, won=False, requests=10_000)
        self.world.baseline = dataclasses.replace(self.world.baseline, ready=0)
        self.world.errors, self.world.requests, self.world.guardrail_age = 0.5, 10_000, 1.0
        self.settled()

    @rule(acknowledged=st.sampled_from(["nothing", "another", "it"]))
    def the_alarm_rings(self, acknowledged: str) -> None:
        """While the ramp could go on, and somebody may acknowledge it, or something else."""
        self.people_let_it_be()
        self.all_goes_well(units=600, rounds=1, won=False, requests=10_000)
        self.sample_ratio(p_value=1e-4)
        self.settled()
        if acknowledged != "nothing":
            self.acknowledge(real=acknowledged == "it")
        self.all_goes_well(units=600, rounds=2, won=True, requests=10_000)

    @rule()
    def few_requests_come(self) -> None:
        """In the middle of a ramp that lacks nothing else."""
        self.people_let_it_be()
        self.all_goes_well(units=600, rounds=1, won=False, requests=10_000)
        self.all_goes_well(units=600, rounds=2, won=False, requests=50)

    @rule()
    def harm_shows(self) -> None:
        """In the middle of a ramp."""
        self.people_let_it_be()
        self.all_goes_well(units=600, rounds=1, won=False, requests=10_000)
        self.evidence(verdict="harm", low=-0.01, loss=-0.05, known=("clicks", "gmv"))
        self.settled()

    @rule()
    def people_let_it_be(self) -> None:
        self.world.set_spec(
            paused=False, abort=False, weightOverride=None, promote=None, acknowledge=None, maxWeight=100
        )

    @rule(
        units=st.sampled_from([50, 150, 600, 600]),
        rounds=st.integers(1, 8),
        won=st.booleans(),
        requests=st.sampled_from([10_000, 10_000, 10_000, 50]),
    )
    def all_goes_well(self, units: int, rounds: int, won: bool, requests: int) -> None:
        """Healthy arms, visible measures, enough time: the ramp goes on."""
        world = self.world
        if won:
            self.evidence(verdict="win", low=0.01, loss=-0.01, known=("clicks", "gmv"))
        world.router_readable = True
        world.baseline = dataclasses.replace(world.baseline, ready=4, serving=frozenset({world.wanted[0] or ""}))
        world.candidate = dataclasses.replace(world.candidate, ready=4, serving=frozenset({world.wanted[1] or ""}))
        world.errors, world.latency, world.requests = 0.001, 20.0, requests
        world.guardrail_age = world.evidence_age = 1.0
        world.guardrail_problem = world.run_of_evidence = None
        world.evidence = dataclasses.replace(
            World().evidence, verdict=world.evidence.verdict, metrics=world.evidence.metrics
        )
        for _ in range(rounds):
            self.settled()
            world.units = units
            world.now += 121
            self.settled()

    @rule()
    def a_long_calm(self) -> None:
        """Nobody interferes, and the candidate is better; a person who is asked promotes."""
        self.people_let_it_be()
        if None not in self.world.wanted:
            self.world.set_spec(promote=self.world.run())
        self.all_goes_well(units=600, rounds=8, won=True, requests=10_000)

    @rule()
    def the_ramp_ends_undecided(self) -> None:
        """Nobody interferes, and the candidate is neither better nor worse."""
        self.people_let_it_be()
        self.evidence(verdict="inconclusive", low=-0.01, loss=-0.01, known=("clicks", "gmv"))
        self.all_goes_well(units=600, rounds=8, won=False, requests=10_000)

    @rule()
    def the_candidate_never_comes_up(self) -> None:
        self.world.candidate = dataclasses.replace(self.world.candidate, ready=0)
        self.settled()
        self.world.now += 2_000
        self.settled()

    # The clock

    @rule(seconds=st.sampled_from([-86_400, -100, -5, 100, 5_000, 90_000]), noticed=st.booleans())
    def clock_jumps(self, seconds: int, noticed: bool) -> None:
        self.world.now += seconds
        if noticed:
            self.world.jumped += seconds

    # The cluster

    @rule(ready=st.sampled_from([0, 0, 1, 2, 4, None]), arm=st.sampled_from(["baseline", "candidate"]))
    def readiness(self, ready: int | None, arm: str) -> None:
        setattr(self.world, arm, dataclasses.replace(getattr(self.world, arm), ready=ready))

    @rule(serving=st.sampled_from([BASELINE, CANDIDATE, *OTHERS, None]), arm=st.sampled_from(["baseline", "candidate"]))
    def arm_serves(self, serving: str | None, arm: str) -> None:
        served = None if serving is None else frozenset({serving})
        setattr(self.world, arm, dataclasses.replace(getattr(self.world, arm), serving=served))

    @rule(readable=st.booleans())
    def router_answers(self, readable: bool) -> None:
        self.world.router_readable = readable

    @rule(weight=st.sampled_from([0, 1, 7, 50, 100]))
    def router_is_changed_by_hand(self, weight: int) -> None:
        self.world.router = dataclasses.replace(self.world.router, weight=weight)

    @precondition(lambda self: (self.world.router.stratum or 0) <= self.world.remembered().stratum)
    @rule()
    def router_loses_its_memory(self) -> None:
        self.world.router = RouterFacts(weight=0)

    @precondition(lambda self: self.world.router.owner == "self")
    @rule()
    def router_is_taken(self) -> None:
        self.world.router = RouterFacts(weight=5, stratum=2, run="another", owner="other")

    @precondition(lambda self: self.world.router.owner == "other")
    @rule()
    def router_is_given_back(self) -> None:
        self.world.router = RouterFacts(weight=0)

    # The measures

    @rule(
        errors=st.sampled_from([0.001, 0.001, 0.5, NAN, math.inf, None]),
        latency=st.sampled_from([20.0, 20.0, 500.0, NAN, None]),
        requests=st.sampled_from([0, 99, 100, 10_000, None]),
        age=st.sampled_from([1.0, 1.0, 61.0, -100.0]),
        problem=st.sampled_from([None, None, "Prometheus does not answer"]),
    )
    def guardrails(self, **values: Any) -> None:
        world = self.world
        world.errors, world.latency, world.requests = values["errors"], values["latency"], values["requests"]
        world.guardrail_age, world.guardrail_problem = values["age"], values["problem"]

    @rule(
        verdict=st.sampled_from(["win", "win", "win", "harm", "inconclusive", "invalid", None]),
        low=st.sampled_from([0.01, 0.01, -0.01, NAN, -math.inf]),
        loss=st.sampled_from([-0.01, -0.01, -0.05, NAN]),
        known=st.sampled_from([("clicks", "gmv"), ("clicks", "gmv"), ("clicks",), ()]),
    )
    def evidence(self, verdict: Any, low: float, loss: float, known: tuple[str, ...]) -> None:
        metrics = (
            MetricReading("clicks", low + 0.01, low, 0.05, proof=low),
            MetricReading("gmv", 0.0, loss, 0.01, proof=loss + 0.02),
        )
        self.world.evidence = dataclasses.replace(
            self.world.evidence, verdict=verdict, metrics=tuple(each for each in metrics if each.name in known)
        )

    @rule(
        age=st.sampled_from([1.0, 1.0, 301.0, -100.0, NAN]),
        run=st.sampled_from([None, None, "another"]),
        problem=st.sampled_from([None, None, "the store does not answer"]),
    )
    def evidence_store(self, age: float, run: str | None, problem: str | None) -> None:
        self.world.evidence_age, self.world.run_of_evidence = age, run
        self.world.evidence = dataclasses.replace(self.world.evidence, problem=problem)

    @rule(p_value=st.sampled_from([0.4, 0.4, 1e-4, 1e-8, NAN, None]))
    def sample_ratio(self, p_value: float | None) -> None:
        self.world.evidence = dataclasses.replace(self.world.evidence, sample_ratio_p=p_value)

    # People

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.world.set_spec(paused=paused)

    @rule(abort=st.sampled_from([True, False, False]))
    def abort(self, abort: bool) -> None:
        self.world.set_spec(abort=abort)

    @rule(weight=st.sampled_from([0, 1, 30, 100, None]), stale=st.booleans())
    def override(self, weight: int | None, stale: bool) -> None:
        run = f"{'0' * 12}-{'1' * 12}-1" if stale or None in self.world.wanted else self.world.run()
        self.world.set_spec(weightOverride=None if weight is None else {"weight": weight, "run": run})

    @rule(cap=st.sampled_from([1, 10, 50, 100]))
    def cap(self, cap: int) -> None:
        self.world.set_spec(maxWeight=cap)

    @rule(promote=st.booleans())
    def promote(self, promote: bool) -> None:
        self.world.set_spec(promote=self.world.run() if promote and None not in self.world.wanted else None)

    @rule(real=st.booleans())
    def acknowledge(self, real: bool) -> None:
        alarm = self.world.remembered().alarm
        self.world.set_spec(acknowledge=alarm.id if real and alarm else "another-alarm")

    @rule(candidate=st.sampled_from([CANDIDATE, *OTHERS, BASELINE, None]), baseline=st.sampled_from([BASELINE, None]))
    def models_change(self, candidate: str | None, baseline: str | None) -> None:
        self.world.wanted = (baseline, candidate)

    @rule()
    def another_attempt(self) -> None:
        self.world.set_spec(attempt=self.world.spec.attempt + 1)

    @rule()
    def delete(self) -> None:
        if self.world.deleted_at is None:
            self.world.deleted_at = self.world.now

    @invariant()
    def every_event_is_sent_once_and_in_order(self) -> None:
        assert self.world.events == sorted(set(self.world.events)), "invariant 15: Events out of order"


SEEN: set[Phase] = set()
"""Phases that the lives of this process have reached: a walk that never arrives proves nothing."""


class WitnessedLife(Life):
    """A life that notes how far it came."""

    def decided(self, up_to: int | None = None) -> int:
        count = super().decided(up_to)
        SEEN.add(self.world.remembered().phase)
        return count
