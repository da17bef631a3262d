"""What a replay counts: answers, latencies, outcomes and expected outcomes of each arm. Pure.

Legend: T tasks.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from serving.gateway.assignment import Arm
from serving.traffic.click_model import Float64, Int64

QUANTILES = (0.5, 0.95, 0.99)


@dataclass
class ArmTally:
    """One arm, or what came of requests that no arm answered."""

    tasks: int
    answers: Counter[str] = field(default_factory=Counter)
    """By outcome: `ok`, a status, `timeout`, `connection`, `malformed`."""
    latency_s: array[float] = field(default_factory=lambda: array("d"))
    """Of requests that were answered well, from the moment at which they were due."""
    earned_T: Int64 = field(init=False)
    units: dict[str, Float64] = field(default_factory=dict)
    """Of each unit: its requests, and its expected outcomes: float64 [1 + T]."""

    def __post_init__(self) -> None:
        self.earned_T = np.zeros(self.tasks, np.int64)

    def earn(self, unit: str, earned_T: Int64, expected_T: Float64) -> None:
        """Adds a ranked list that a user saw."""
        self.earned_T += earned_T
        row = self.units.setdefault(unit, np.zeros(1 + self.tasks))
        row[0] += 1
        row[1:] += expected_T

    @property
    def requests(self) -> int:
        """All that came back, well or not."""
        return self.answers.total()

    @property
    def errors(self) -> int:
        return self.requests - self.answers["ok"]

    def quantiles_s(self) -> tuple[float, ...]:
        """Latencies at QUANTILES; NaN where there are none."""
        if not self.latency_s:
            return (math.nan,) * len(QUANTILES)
        return tuple(np.quantile(np.frombuffer(self.latency_s), QUANTILES).tolist())


@dataclass
class Tally:
    """All of a replay."""

    tasks: tuple[str, ...]
    arms: Mapping[Arm, ArmTally] = field(init=False)
    nobody: ArmTally = field(init=False)
    """Requests whose answer names no arm: refused by the gateway, timed out, cut."""
    sent: int = 0
    shed: int = 0
    """Arrivals that were not sent: too many requests were open."""
    put: int = 0
    """Outcome events handed to the poster."""
    behind_s: array[float] = field(default_factory=lambda: array("d"))
    """How late each request left: the load's own delay, which is in the latencies."""

    def __post_init__(self) -> None:
        self.arms = {"baseline": ArmTally(len(self.tasks)), "candidate": ArmTally(len(self.tasks))}
        self.nobody = ArmTally(len(self.tasks))

    def of(self, arm: Arm | None) -> ArmTally:
        return self.nobody if arm is None else self.arms[arm]

    @property
    def answered(self) -> int:
        return sum(arm.answers["ok"] for arm in self.arms.values())

    @property
    def errors(self) -> int:
        return self.nobody.errors + sum(arm.errors for arm in self.arms.values())


@dataclass(frozen=True)
class ExpectedEffect:
    """Of one task, by the click model's expectation of every list that was shown: nothing of it is drawn.

    baseline, candidate: outcomes a request. lift: relative. error: its standard error by the delta method, over units.
    """

    task: str
    baseline: float
    candidate: float
    lift: float
    error: float


def expected_effects(tally: Tally) -> list[ExpectedEffect]:
    """For every task; lift and error are NaN where an arm has fewer than two units or the baseline earns nothing.

    Requests are pooled over the weights that the replay met: this is a figure of the load, not the experiment's.
    """
    means = {arm: _mean(found) for arm, found in tally.arms.items()}
    effects = []
    for place, task in enumerate(tally.tasks):
        (base, base_var), (cand, cand_var) = ((means[arm][0][place], means[arm][1][place]) for arm in means)
        lift = error = math.nan
        if base > 0:
            lift = cand / base - 1.0
            error = math.sqrt(cand_var + (cand / base) ** 2 * base_var) / base
        effects.append(ExpectedEffect(task, float(base), float(cand), float(lift), float(error)))
    return effects


def _mean(arm: ArmTally) -> tuple[Float64, Float64]:
    """Expected outcomes a request [T], and the variance of that ratio [T], with units as clusters."""
    if len(arm.units) < 2:
        nothing = np.full(arm.tasks, math.nan)
        return nothing, nothing
    unit_U = np.stack(list(arm.units.values()))
    requests, users = unit_U[:, 0].sum(), len(unit_U)
    mean_T = unit_U[:, 1:].sum(axis=0) / requests
    residual_UT = unit_U[:, 1:] - mean_T * unit_U[:, :1]
    return mean_T, (residual_UT**2).sum(axis=0) * users / (users - 1) / requests**2
