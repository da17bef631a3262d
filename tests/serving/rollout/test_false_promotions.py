"""Invariant 17 through decide(): a candidate without any effect, looked at all the time, over a ramp with drift.

Evidence is drawn, analysed and judged as in a rollout; what is counted is what decide() did with it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from serving.experiment.aggregate import Aggregate
from serving.experiment.analysis import analyse
from serving.experiment.evidence import ExperimentEvidence, Exposed, MetricEvidence, Stratum
from serving.rollout.decide import decide
from serving.rollout.judgement import design_of, readings_of
from serving.rollout.readings import Readings
from tests.serving.rollout.rollout_world import World, spec_with

ALPHA = 0.2
"""The largest that the resource takes: with the usual 0.05 a wrong loop would need far more runs to be found."""
RUNS = 100
LOOKS = 30
UNITS = 120
"""Of both arms, between two looks."""
SPEC = spec_with(
    steps=[{"weight": weight, "minSeconds": 0, "minUnits": 0} for weight in (10, 30, 50)],
    metrics=[{"name": "clicks", "value": "click", "role": "Primary"}],
    guardrails=[],
    analysis={"alpha": ALPHA, "burnInUnits": 10, "plannedUnits": 1000, "minEvents": 5},
    deadlineSeconds=90 * 86_400,
)


class Experiment:
    """Units come, look by look; a stratum for each weight."""

    def __init__(self, seed: int, lift: float) -> None:
        self.random = np.random.default_rng(seed)
        self.lift = lift
        self.values: dict[int, dict[str, list[float]]] = {}
        self.weights: dict[int, float] = {}

    def come(self, stratum: int, weight: int, look: int) -> None:
        """UNITS more. The level drifts: pooled over the ramp, the arms would differ without any effect."""
        arms = self.values.setdefault(stratum, {"baseline": [], "candidate": []})
        self.weights[stratum] = weight / 100
        candidates = int(self.random.binomial(UNITS, weight / 100))
        level = 1.0 + look / LOOKS
        arms["baseline"] += list(self.random.normal(level, 1.0, UNITS - candidates))
        arms["candidate"] += list(self.random.normal(level * (1 + self.lift), 1.0, candidates))

    def readings(self, world: World) -> Readings:
        state = world.remembered()
        assert state.run is not None
        design = design_of(world.spec, state.run, "feed.01234567")
        columns = design.metrics[0].columns
        strata, exposed = [], []
        for stratum, arms in self.values.items():
            weight = self.weights[stratum]
            parts = {arm: Aggregate.of(columns, np.array(values)[:, None]) for arm, values in arms.items()}
            counts = {arm: len(values) for arm, values in arms.items()}
            strata.append(Stratum(stratum, 0, weight, parts))  # type: ignore[arg-type]
            exposed.append(Exposed(stratum, 0, weight, counts, counts))  # type: ignore[arg-type]
        metric = MetricEvidence(design.metrics[0], tuple(strata))
        evidence = ExperimentEvidence(design, world.now, (metric,), tuple(exposed))
        return readings_of(analyse(evidence, forecast=False), evidence.exposed, state)


def life(seed: int, lift: float) -> str:
    """Why the run ended: Proven, HarmShown or SampleRatioBroken; "" where nothing was decided."""
    world, experiment = World(spec=SPEC), Experiment(seed, lift)
    for look in range(LOOKS):
        for _ in range(6):
            state = world.remembered()
            readings = experiment.readings(world) if experiment.values else world.readings()
            readings = replace(readings, run=state.run.id if state.run else None, as_of=world.now)
            decision = decide(world.spec, state, readings, world.facts(), world.clock())
            for action in decision.actions:
                world.do(action)
            if decision.state.reason in {"Proven", "HarmShown", "SampleRatioBroken"}:
                return decision.state.reason
            if not decision.actions:
                break
        state = world.remembered()
        if state.phase == "Ramping":
            experiment.come(state.stratum, state.weight, look)
        world.now += 600
    return ""


def at_most(share: float) -> int:
    """More of RUNS than this would be seen in one of a thousand such tests alone."""
    return int(stats.binom.ppf(0.999, RUNS, share))


@pytest.mark.slow
def test_without_an_effect_few_runs_are_promoted_and_few_called_harmful_over_all_looks() -> None:
    ends = Counter(life(seed, lift=0.0) for seed in range(RUNS))
    print(f"\nwithout an effect, {RUNS} runs of {LOOKS} looks: {dict(ends)}")  # noqa: T201  # the figure itself
    assert ends["Proven"] <= at_most(ALPHA)
    assert ends["HarmShown"] <= at_most(ALPHA)
    assert ends["SampleRatioBroken"] <= at_most(0.001)


def test_an_effect_is_proven_and_a_loss_is_harm() -> None:
    """Otherwise the test above might count nothing because nothing is ever decided."""
    assert [life(seed, lift=0.4) for seed in range(3)] == ["Proven"] * 3
    assert [life(seed, lift=-0.4) for seed in range(3)] == ["HarmShown"] * 3
