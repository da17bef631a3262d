"""The part of `spec` that says what is measured: metrics, guardrails and how evidence is judged."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from serving.rollout.resource import Part, Rule, ruled

DAY_S = 86_400
MeasureName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9_]*[a-z0-9])?$", min_length=1, max_length=63)
]
EventName = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", min_length=1, max_length=63)]
PromQL = Annotated[str, StringConstraints(min_length=1, max_length=2048)]


class Metric(Part):
    """A metric of the units, judged by its always-valid interval (serving.experiment.design.Metric)."""

    model_config = ruled(
        Rule("(self.kind == 'Ratio') == has(self.denominator)", "a Ratio, and only a Ratio, has a denominator"),
        Rule("!has(self.cap) || self.kind != 'Proportion'", "a Proportion is 0 or 1 and has no cap"),
        Rule("self.value != 'exposures'", "exposures are counted in a denominator alone"),
        Rule("self.role == 'NonInferior' || self.margin == 0.0", "only a NonInferior metric has a margin"),
    )

    name: MeasureName
    kind: Literal["Mean", "Proportion", "Ratio"] = "Mean"
    value: EventName
    """Name of the outcome events whose values are summed per unit."""
    denominator: EventName | None = None
    """Outcome events under the fraction line; `exposures` counts the unit's exposures."""
    cap: float | None = Field(default=None, ge=1e-6, le=1e12)
    """A unit counts for at most this much (winsorising)."""
    covariate: EventName | None = None
    """Value per unit from before the run, which takes variance away (CUPED)."""
    maturity_seconds: int = Field(default=0, ge=0, le=90 * DAY_S)
    """A unit counts once this much time has passed since it entered."""
    better: Literal["Higher", "Lower"] = "Higher"
    role: Literal["Primary", "NonInferior", "Secondary"] = "Secondary"
    margin: float = Field(default=0.0, ge=0, lt=1)
    """Relative loss that is still no harm (NonInferior). At 0, the default, it must be shown to be no worse at all."""

    standard_deviation: float | None = Field(default=None, ge=1e-9, le=1e15)
    """Of a unit's value, from planning: fixes the scale of the interval in advance."""

    @model_validator(mode="after")
    def _fields_of_the_kind(self) -> Self:
        if (self.kind == "Ratio") != (self.denominator is not None):
            raise ValueError("a Ratio, and only a Ratio, has a denominator")
        if self.cap is not None and self.kind == "Proportion":
            raise ValueError("a Proportion is 0 or 1 and has no cap")
        if self.value == "exposures":
            raise ValueError("exposures are counted in a denominator alone")
        if self.role != "NonInferior" and self.margin != 0.0:
            raise ValueError("only a NonInferior metric has a margin")
        return self


class Guardrail(Part):
    """A hard limit on the candidate: no statistics, hence a least number of requests before it may speak."""

    model_config = ruled(
        Rule("(self.type == 'PromQL') == has(self.query)", "a PromQL guardrail, and only that, has a query"),
        Rule("self.type == 'PromQL' || !has(self.countQuery)", "only a PromQL guardrail has a countQuery"),
        Rule("self.type == 'PromQL' || (has(self.max) && !has(self.min))", "ErrorRate and P99 have a max alone"),
        Rule("has(self.max) || has(self.min)", "a guardrail needs max or min"),
        Rule("!has(self.max) || !has(self.min) || self.min < self.max", "min must be below max"),
        Rule(
            "self.type != 'ErrorRate' || !has(self.max) || (self.max > 0.0 && self.max < 1.0)",
            "max of an ErrorRate is a share between 0 and 1",
        ),
    )

    name: MeasureName
    type: Literal["ErrorRate", "P99", "PromQL"]
    """`ErrorRate`: share of the candidate's answers that failed. `P99`: its latency in milliseconds."""
    query: PromQL | None = None
    """Gives one number for the candidate."""
    count_query: PromQL | None = None
    """Gives the number of requests behind `query`; without it `minRequests` is taken as met."""
    max: float | None = None
    min: float | None = None
    min_requests: int = Field(default=500, ge=1, le=1_000_000_000)
    """Below this many requests in the window the guardrail neither passes nor breaches: the weight is held."""
    window_seconds: int = Field(default=60, ge=5, le=3600)
    stale_seconds: int = Field(default=60, ge=5, le=3600)
    """A reading older than this is no reading."""

    @model_validator(mode="after")
    def _fields_of_the_type(self) -> Self:
        if (self.type == "PromQL") != (self.query is not None):
            raise ValueError("a PromQL guardrail, and only that, has a query")
        if self.type != "PromQL" and self.count_query is not None:
            raise ValueError("only a PromQL guardrail has a countQuery")
        if self.max is None and self.min is None:
            raise ValueError("a guardrail needs max or min")
        if self.type != "PromQL" and (self.max is None or self.min is not None):
            raise ValueError("ErrorRate and P99 have a max alone")
        if self.max is not None and self.min is not None and self.min >= self.max:
            raise ValueError("min must be below max")
        if self.type == "ErrorRate" and self.max is not None and not 0 < self.max < 1:
            raise ValueError("max of an ErrorRate is a share between 0 and 1")
        return self


class Analysis(Part):
    """How evidence is judged."""

    alpha: float = Field(default=0.05, ge=1e-9, le=0.2)
    """Bound on promoting a candidate that is not better, and on calling one harmful that is not, over all looks."""
    burn_in_units: int = Field(default=100, ge=2, le=1_000_000)
    """Units in each arm before a stratum is looked at."""
    min_events: int = Field(default=10, ge=1, le=1_000_000)
    """Units with an outcome that the smaller arm must expect before a metric is judged."""
    planned_units: int = Field(default=10_000, ge=10, le=1_000_000_000)
    """Units of both arms at which the intervals are tightest."""
    min_effect: float = Field(default=0.01, ge=1e-9, lt=10)
    """Smallest relative effect on the primary metric that is worth finding; for the report's duration."""
    slice_seconds: int = Field(default=DAY_S, ge=60, le=7 * DAY_S)
    """Length of the time slices inside a phase."""
    sample_ratio_alpha: float = Field(default=0.001, ge=1e-15, le=0.05)
    stale_seconds: int = Field(default=300, ge=10, le=DAY_S)
    """Evidence older than this is no evidence."""
    salt: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", min_length=1, max_length=63)] | None = None
    """Salt of the assignment; None: the resource's own name and uid."""
