"""The rollout that `mgoe run` ends with: the resource for a pair of bundles, with times that fit minutes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from model.data.schema import LogSchema
from serving.traffic.log_design import metrics_of, rollout_metrics

ROLLOUT = "mgoe"
"""Name of the rollout in the stack's store."""
LOSS_MARGIN = 0.1
"""Relative loss of another task's outcomes that is still no harm."""


@dataclass(frozen=True)
class LiveSettings:
    """How long it is watched, and how many users come."""

    rate: float = 80.0
    """Requests a second."""
    candidates: int = 20
    """Most logged impressions of one request."""
    extras: int = 30
    """Items beside that the user was not shown. Short lists leave a ranking little to be better at."""
    deadline_s: int = 240
    """From the first request on; without a verdict by then the candidate is rolled back."""
    seed: int = 0


@dataclass(frozen=True)
class LiveBundle:
    """One arm."""

    address: str
    digest: str


def rollout_spec(
    baseline: LiveBundle, candidate: LiveBundle, schema: LogSchema, settings: LiveSettings
) -> dict[str, Any]:
    """`spec` of a ModelRollout. Users are few here, and return, so that a stratum is looked at early."""
    return {
        "baseline": {"bundle": baseline.address, "digest": baseline.digest},
        "candidate": {"bundle": candidate.address, "digest": candidate.digest},
        "driver": {"type": "local", "services": {"baseline": "baseline", "candidate": "candidate"}},
        "steps": [{"weight": 20, "minSeconds": 10, "minUnits": 100}, {"weight": 50, "minSeconds": 20, "minUnits": 300}],
        "metrics": _metrics(schema),
        "guardrails": [
            {"name": "errors", "type": "ErrorRate", "max": 0.05, "minRequests": 100, "windowSeconds": 20},
            {"name": "p99-ms", "type": "P99", "max": 900, "minRequests": 100, "windowSeconds": 20},
        ],
        "analysis": {"burnInUnits": 50, "plannedUnits": 3000, "minEffect": 0.03, "sliceSeconds": 3600},
        "promotion": {"bakeSeconds": 10},
        "deadlineSeconds": settings.deadline_s,
        "validateSeconds": 120,
        "whenBlind": {"seconds": 60},
    }


def _metrics(schema: LogSchema) -> list[dict[str, Any]]:
    """The metrics of `mgoe traffic design`; the strongest task of all exposures must not fall."""
    metrics = rollout_metrics(metrics_of(schema, maturity_s=10.0))
    entire = [one for one in metrics if one["role"] == "Secondary" and one.get("denominator") == "exposures"]
    for one in entire[:1]:
        one |= {"role": "NonInferior", "margin": LOSS_MARGIN}
    return metrics
