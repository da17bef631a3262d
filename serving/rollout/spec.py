"""`spec` of a ModelRollout. These models are the only source: the CRD is rendered from them (serving.rollout.crd).

A rule that concerns more than one field stands twice, as CEL for the API server and as a validator for the local
store; tests/serving/rollout/test_spec_rules.py holds the two against the same examples.
Durations are whole seconds with the unit in the name, as Kubernetes' API conventions have it.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from serving.rollout.resource import LONGEST_NAME, Part, Rule, list_map, ruled
from serving.rollout.spec_measures import Analysis, Guardrail, Metric

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$", max_length=64)]
ObjectName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)]
RunId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}-[0-9a-f]{12}-[0-9]+$", max_length=40)]

DAY_S = 86_400


class ModelSource(Part):
    """Which model an arm serves: a bundle with its digest, or a registry alias that is resolved to one."""

    model_config = ruled(
        Rule("has(self.bundle) != has(self.model)", "name either a bundle (with digest) or a model (with alias)"),
        Rule("has(self.bundle) == has(self.digest)", "bundle and digest go together: content is pinned"),
        Rule("has(self.model) == has(self.alias)", "model and alias go together"),
    )

    bundle: Annotated[str, StringConstraints(pattern=r"^(s3|file)://.+$", max_length=1024)] | None = None
    """Address of the bundle's folder."""
    digest: Digest | None = None
    """Digest of the bundle (`mgoe bundle show`)."""
    model: Annotated[str, StringConstraints(min_length=1, max_length=253)] | None = None
    """Name of a registered model."""
    alias: Annotated[str, StringConstraints(min_length=1, max_length=63)] | None = None
    """Alias of one of its versions: `baseline` or `candidate`."""

    @model_validator(mode="after")
    def _one_way_to_name_it(self) -> Self:
        if (self.bundle is None) == (self.model is None):
            raise ValueError("name either a bundle (with digest) or a model (with alias)")
        if (self.bundle is None) != (self.digest is None):
            raise ValueError("bundle and digest go together: content is pinned")
        if (self.model is None) != (self.alias is None):
            raise ValueError("model and alias go together")
        return self


def _fields_of(arm: str) -> str:
    """A source as CEL's list of texts: the API server compares no objects of two fields."""
    fields = (f"has(self.{arm}.{name}) ? self.{arm}.{name} : ''" for name in ("bundle", "digest", "model", "alias"))
    return f"[{', '.join(fields)}]"


class Services(Part):
    """Names of the two services that answer ranking requests."""

    model_config = ruled(Rule("self.baseline != self.candidate", "the arms need a service each"))

    baseline: ObjectName
    candidate: ObjectName

    @model_validator(mode="after")
    def _two_services(self) -> Self:
        if self.baseline == self.candidate:
            raise ValueError("the arms need a service each")
        return self


DriverType = Literal["gateway", "kserve-standard", "kserve-knative", "local"]
_PAIR = {"gateway", "local"}


class DriverSpec(Part):
    """What splits the traffic."""

    model_config = ruled(
        Rule(
            "(self.type in ['gateway', 'local']) == has(self.services)",
            "the drivers gateway and local need services (the two arms), and no other has them",
        ),
        Rule(
            "(self.type in ['kserve-standard', 'kserve-knative']) == has(self.inferenceService)",
            "the kserve drivers need inferenceService (with both arms in it), and no other has it",
        ),
        Rule("self.type == 'gateway' || !has(self.gateway)", "gateway is a field of the driver gateway"),
    )

    type: DriverType = "gateway"
    """`gateway`: the chart's Envoy, users stay on their arm. `kserve-*`: KServe's own split, by request."""
    services: Services | None = None
    inference_service: ObjectName | None = None
    gateway: ObjectName | None = None
    """Name of the gateway, where a namespace has several."""

    @model_validator(mode="after")
    def _fields_of_the_type(self) -> Self:
        if (self.type in _PAIR) != (self.services is not None):
            raise ValueError("the drivers gateway and local need services (the two arms), and no other has them")
        if (self.type not in _PAIR) != (self.inference_service is not None):
            raise ValueError("the kserve drivers need inferenceService (with both arms in it), and no other has it")
        if self.type != "gateway" and self.gateway is not None:
            raise ValueError("gateway is a field of the driver gateway")
        return self


class Step(Part):
    """One rung of the ramp."""

    weight: int = Field(ge=1, le=100)
    """Percent of the units on the candidate."""
    min_seconds: int = Field(default=3600, ge=0, le=90 * DAY_S)
    """Least time at this weight, counted from when the router was seen to have it."""
    min_units: int = Field(default=1000, ge=0, le=1_000_000_000)
    """Least units in each arm at this weight."""


class Capacity(Part):
    """How many replicas the arms need."""

    replicas: int = Field(default=1, ge=1, le=10_000)
    """Replicas that can carry all traffic. A share needs that share of them, rounded up, and one at least."""
    manage: bool = False
    """Whether the operator sets the arms' least number of replicas (an autoscaler's lower bound), or only waits."""
    idle_replicas: int = Field(default=0, ge=0, le=10_000)
    """Least number of replicas of an arm that the finished rollout no longer sends traffic to (with `manage`)."""
    drain_seconds: int = Field(default=60, ge=0, le=3600)
    """Time between the last request to an arm and the cut of its replicas."""


class WhenBlind(Part):
    """What to do when a metric is missing, not a number, stale or unknown. Until then the weight is held."""

    seconds: int = Field(default=900, ge=10, le=7 * DAY_S)
    action: Literal["RollBack", "Hold"] = "RollBack"


class Promotion(Part):
    """Who promotes, and what follows."""

    mode: Literal["Auto", "Manual"] = "Auto"
    """`Manual`: the last step is held until `promote` names the run."""
    bake_seconds: int = Field(default=600, ge=0, le=7 * DAY_S)
    """Time at full weight under guard before the rollout has succeeded."""


class WeightOverride(Part):
    """A weight that a person sets; the ramp stands still while it is there."""

    weight: int = Field(ge=0, le=100)
    run: RunId
    """`status.run.id`: a weight left behind means nothing to the next run."""


_RUNNING = "['Validating', 'Ramping', 'Paused', 'Promoting', 'RollingBack']"


class ModelRolloutSpec(Part):
    """A rollout of a candidate against a baseline."""

    model_config = ruled(
        Rule(f"{_fields_of('baseline')} != {_fields_of('candidate')}", "baseline and candidate name the same model"),
        Rule(
            "self.steps.map(s, s.weight).isSorted()"
            " && self.steps.all(a, self.steps.exists_one(b, b.weight == a.weight))",
            "the weights of the steps must rise",
        ),
        Rule("self.steps[0].weight <= self.maxWeight", "the first step is above maxWeight"),
        Rule("self.metrics.exists_one(m, m.role == 'Primary')", "exactly one metric has the role Primary"),
        Rule(
            "!(self.driver.type in ['kserve-standard', 'kserve-knative'])"
            " || self.guardrails.all(g, g.type == 'PromQL')",
            "with a kserve driver requests do not pass our gateway: write PromQL in place of ErrorRate and P99",
        ),
        Rule("self.attempt >= oldSelf.attempt", "attempt only rises"),
    )

    baseline: ModelSource
    candidate: ModelSource
    driver: DriverSpec
    steps: tuple[Step, ...] = Field(
        default=(Step(weight=1), Step(weight=5), Step(weight=20), Step(weight=50)), min_length=1, max_length=20
    )
    metrics: tuple[Metric, ...] = Field(min_length=1, max_length=20, json_schema_extra=list_map("name"))
    guardrails: tuple[Guardrail, ...] = Field(default=(), max_length=20, json_schema_extra=list_map("name"))
    analysis: Analysis = Analysis()
    capacity: Capacity = Capacity()
    when_blind: WhenBlind = WhenBlind()
    promotion: Promotion = Promotion()
    max_weight: int = Field(default=100, ge=1, le=100)
    """The candidate never gets more, whatever the steps say. Below 100 there is no promotion."""
    deadline_seconds: int = Field(default=14 * DAY_S, ge=60, le=365 * DAY_S)
    """Time for the whole run."""
    on_deadline: Literal["RollBack", "Hold"] = "RollBack"
    validate_seconds: int = Field(default=1800, ge=10, le=DAY_S)
    """Time for both arms to become ready and every measure to be readable, before traffic moves."""
    attempt: int = Field(default=1, ge=1, le=1_000_000)
    """Raise it to run the same pair again, with fresh evidence."""

    paused: bool = False
    """Hold the weight. Guardrails still act."""
    abort: bool = False
    """Candidate to 0 at once. Left at true, every later run is aborted too."""
    promote: RunId | None = None
    """Promote this run (`status.run.id`)."""
    acknowledge: Annotated[str, StringConstraints(max_length=80)] | None = None
    """The sample ratio alarm that a person has looked at (`status.alarm.id`)."""
    weight_override: WeightOverride | None = None

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        if self.baseline == self.candidate:
            raise ValueError("baseline and candidate name the same model")
        weights = [step.weight for step in self.steps]
        if weights != sorted(set(weights)):
            raise ValueError("the weights of the steps must rise")
        if weights[0] > self.max_weight:
            raise ValueError("the first step is above maxWeight")
        if sum(metric.role == "Primary" for metric in self.metrics) != 1:
            raise ValueError("exactly one metric has the role Primary")
        if self.driver.type not in _PAIR and any(each.type != "PromQL" for each in self.guardrails):
            raise ValueError(
                "with a kserve driver requests do not pass our gateway: write PromQL in place of ErrorRate and P99"
            )
        for names in ([each.name for each in self.metrics], [each.name for each in self.guardrails]):
            if len(set(names)) < len(names):
                raise ValueError("Duplicate value: names of metrics and of guardrails are unique")
        return self


FIXED_WHILE_RUNNING = ("baseline", "driver", "steps", "metrics", "analysis", "capacity")
"""Fields (by alias) whose change would mix two experiments; a new candidate or attempt may bring new ones."""

ROOT_RULES = (
    *(
        Rule(
            f"!has(self.status) || !has(self.status.phase) || !(self.status.phase in {_RUNNING})"
            " || self.spec.candidate != oldSelf.spec.candidate || self.spec.attempt != oldSelf.spec.attempt"
            f" || self.spec.{name} == oldSelf.spec.{name}",
            f"spec.{name} is fixed while the run goes on; abort it, or bring a new candidate or attempt",
        )
        for name in FIXED_WHILE_RUNNING
    ),
    Rule(
        f"self.metadata.name.size() <= {LONGEST_NAME}",
        f"the name has at most {LONGEST_NAME} characters: names of children add to it",
    ),
)
"""Rules of the whole object; the first ones compare with the object before."""


def changed_while_running(old: ModelRolloutSpec, new: ModelRolloutSpec, phase: str | None) -> str | None:
    """Why `new` may not replace `old` now, in one line, or None: ROOT_RULES for stores without an API server."""
    if new.attempt < old.attempt:
        return "spec.attempt: attempt only rises"
    if phase is None or f"'{phase}'" not in _RUNNING:
        return None
    if new.candidate != old.candidate or new.attempt != old.attempt:
        return None
    for name in FIXED_WHILE_RUNNING:
        if getattr(new, name) != getattr(old, name):
            return f"spec.{name} is fixed while the run goes on; abort it, or bring a new candidate or attempt"
    return None
