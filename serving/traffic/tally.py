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
    """Of each unit: its requests, its expected outcomes, and those of a random order: float64 [1 + 2 T]."""

    def __post_init__(self) -> None:
        self.earned_T = np.zeros(self.tasks, np.int64)

    def earn(self, unit: str, earned_T: Int64, expected_T: Float64, shuffled_T: Float64) -> None:
        """Adds a ranked list that a user saw: what it earned, was expected to earn, and would earn in any order."""
        self.earned_T += earned_T
        row = self.units.setdefault(unit, np.zeros(1 + 2 * self.tasks))
        row += np.concatenate([[1.0], expected_T, shuffled_T])

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

    baseline, candidate: outcomes a request. lift: relative change of the ratio to what a random order of the same lists
    would earn, which takes out how relevant the arms' users happen to find their candidates. error: its standard error
    by the delta method, over units.
    """

    task: str
    baseline: float
    candidate: float
    lift: float
    error: float


def expected_effects(tally: Tally) -> list[ExpectedEffect]:
    """For every task; NaN where an arm has fewer than two units, or nothing can be earned.

    Requests are pooled over the weights that the replay met: this is a figure of the load, not the experiment's.
    """
    baseline, candidate = (_gain(tally.arms[arm]) for arm in ("baseline", "candidate"))
    effects = []
    for place, task in enumerate(tally.tasks):
        base, cand, base_sd, cand_sd = (
            float(value[place]) for value in (baseline[1], candidate[1], baseline[2], candidate[2])
        )
        lift = error = math.nan
        if base > 0:
            lift = cand / base - 1.0
            error = math.hypot(cand_sd, cand / base * base_sd) / base
        effects.append(ExpectedEffect(task, float(baseline[0][place]), float(candidate[0][place]), lift, error))
    return effects


def _gain(arm: ArmTally) -> tuple[Float64, Float64, Float64]:
    """Expected outcomes a request [T]; their ratio to those of a random order [T], and its standard deviation [T]."""
    users, tasks = len(arm.units), arm.tasks
    if users < 2:
        nothing = np.full(tasks, math.nan)
        return nothing, nothing, nothing
    unit_U = np.stack(list(arm.units.values()))
    expected_UT, shuffled_UT = unit_U[:, 1 : 1 + tasks], unit_U[:, 1 + tasks :]
    whole_T = shuffled_UT.sum(axis=0)
    ratio_T = np.divide(expected_UT.sum(axis=0), whole_T, out=np.full(tasks, math.nan), where=whole_T > 0)
    residual_UT = expected_UT - ratio_T * shuffled_UT
    variance_T = (residual_UT**2).sum(axis=0) * users / (users - 1)
    deviation_T = np.divide(np.sqrt(variance_T), whole_T, out=np.full(tasks, math.nan), where=whole_T > 0)
    return expected_UT.sum(axis=0) / unit_U[:, 0].sum(), ratio_T, deviation_T
