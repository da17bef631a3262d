"""A world in memory that a rollout lives in: arms, router, evidence, guardrails, a person, a store with versions.

Every action of decide() is carried out on it, one at a time, so that a test can stop between any two of them.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from serving.rollout.actions import Action, Announce, Persist, Release, Scale, SetWeights
from serving.rollout.facts import ArmFacts, Clock, Facts, RouterFacts
from serving.rollout.readings import GuardrailReading, MetricReading, Readings
from serving.rollout.spec import ModelRolloutSpec
from serving.rollout.state import State, run_id
from serving.rollout.status import ModelRolloutStatus

BASELINE = "b" * 64
CANDIDATE = "c" * 64
START = 1_800_000_000.0

SPEC: dict[str, Any] = {
    "baseline": {"bundle": "s3://mgoe/bundles/mmoe", "digest": BASELINE},
    "candidate": {"bundle": "s3://mgoe/bundles/mgoe", "digest": CANDIDATE},
    "driver": {"type": "gateway", "services": {"baseline": "mmoe", "candidate": "mgoe"}},
    "steps": [
        {"weight": 1, "minSeconds": 60, "minUnits": 100},
        {"weight": 20, "minSeconds": 120, "minUnits": 200},
        {"weight": 50, "minSeconds": 120, "minUnits": 500},
    ],
    "metrics": [
        {"name": "clicks", "value": "click", "role": "Primary"},
        {"name": "gmv", "value": "pay", "role": "NonInferior", "margin": 0.02},
    ],
    "guardrails": [
        {"name": "errors", "type": "ErrorRate", "max": 0.01, "minRequests": 100},
        {"name": "latency", "type": "P99", "max": 50, "minRequests": 100},
    ],
    "capacity": {"replicas": 4, "manage": True},
    "promotion": {"mode": "Auto", "bakeSeconds": 60},
    "whenBlind": {"seconds": 300},
    "deadlineSeconds": 86400,
}


def spec_with(**changes: object) -> ModelRolloutSpec:
    """The example's spec, with fields (by their YAML names) replaced."""
    return ModelRolloutSpec.model_validate({**SPEC, **changes})


EVIDENCE = Readings(
    verdict="inconclusive",
    words="clicks +0.1 % (-1.0 ... +1.2)",
    metrics=(
        MetricReading("clicks", 0.001, -0.01, 0.012, proof=-0.01),
        MetricReading("gmv", 0.0, -0.01, 0.01, proof=0.01),
    ),
    sample_ratio_p=0.4,
)


def serving(digest: str) -> ArmFacts:
    """An arm in full health."""
    return ArmFacts(ready=4, floor=4, serving=frozenset({digest}))


@dataclass
class World:
    """Everything around a rollout, in plain fields that a test sets."""

    spec: ModelRolloutSpec = field(default_factory=spec_with)
    state: dict[str, Any] = field(default_factory=dict)
    """The status, as JSON."""
    now: float = START
    jumped: float = 0.0
    router: RouterFacts = field(default_factory=lambda: RouterFacts(weight=0))
    router_readable: bool = True
    baseline: ArmFacts = field(default_factory=lambda: serving(BASELINE))
    candidate: ArmFacts = field(default_factory=lambda: serving(CANDIDATE))
    wanted: tuple[str | None, str | None] = (BASELINE, CANDIDATE)
    deleted_at: float | None = None
    released: bool = False
    evidence: Readings = EVIDENCE
    """Run, age, stratum, units and guardrails are filled in at the time of reading."""
    run_of_evidence: str | None = None
    """None: the run that goes on."""
    evidence_age: float = 1.0
    units: int = 0
    errors: float | None = 0.001
    latency: float | None = 20.0
    requests: int | None = 10_000
    guardrail_age: float = 1.0
    guardrail_problem: str | None = None
    events: list[int] = field(default_factory=list)
    """Sequence numbers of the Events, in the order in which they were first sent."""

    def remembered(self) -> State:
        """The state, read back from its JSON."""
        return ModelRolloutStatus.model_validate(json.loads(json.dumps(self.state))).state()

    def readings(self) -> Readings:
        state = self.remembered()
        run = self.run_of_evidence or (state.run.id if state.run else None)
        guardrails = tuple(
            GuardrailReading(name, value, self.requests, self.now - self.guardrail_age, self.guardrail_problem)
            for name, value in (("errors", self.errors), ("latency", self.latency))
        )
        return dataclasses.replace(
            self.evidence,
            run=run,
            as_of=self.now - self.evidence_age,
            stratum=state.stratum,
            baseline_units=self.units,
            candidate_units=self.units,
            guardrails=guardrails,
        )

    def facts(self) -> Facts:
        return Facts(
            baseline=self.baseline,
            candidate=self.candidate,
            router=self.router if self.router_readable else RouterFacts(),
            baseline_digest=self.wanted[0],
            candidate_digest=self.wanted[1],
            deleted_at=self.deleted_at,
        )

    def clock(self) -> Clock:
        """The time; a jump is told once."""
        clock = Clock(now=self.now, jumped=self.jumped)
        self.jumped = 0.0
        return clock

    def do(self, action: Action) -> bool:
        """Carry an action out; False: it was lost."""
        match action:
            case SetWeights(candidate=weight, stratum=stratum, run=run):
                if not self.router_readable:
                    return False
                self.router = RouterFacts(weight=weight, stratum=stratum, run=run, owner="self")
            case Persist(state=state):
                self.state = state.to_json()
            case Announce(transition=transition):
                if transition.seq not in self.events:
                    self.events.append(transition.seq)
            case Scale(arm=arm, replicas=replicas):
                found = self.facts().arm(arm)
                facts = dataclasses.replace(found, floor=max(replicas, found.lowest))
                if arm == "baseline":
                    self.baseline = facts
                else:
                    self.candidate = facts
            case Release():
                self.released = True
        return True

    def run(self) -> str:
        """Id of the run that the spec means."""
        baseline, candidate = self.wanted
        return run_id(baseline or "", candidate or "", self.spec.attempt)

    def set_spec(self, **changes: object) -> None:
        """A person's edit; values are those of the models, not of YAML."""
        document = {**self.spec.to_json(), **changes}
        self.spec = ModelRolloutSpec.model_validate(
            {key: value for key, value in document.items() if value is not None}
        )
