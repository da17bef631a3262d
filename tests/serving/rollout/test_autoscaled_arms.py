"""An arm whose autoscaler keeps one replica is not asked for none again and again."""

from __future__ import annotations

import dataclasses

from serving.rollout.actions import Announce, Persist, Scale
from serving.rollout.decide import decide
from serving.rollout.facts import RouterFacts
from serving.rollout.state import Run, State
from tests.serving.rollout.rollout_world import BASELINE, CANDIDATE, START, World, serving

RUN = Run(id=World().run(), baseline=BASELINE, candidate=CANDIDATE, attempt=1, started_at=START)


def looked(world: World) -> list[Scale]:
    """What one look asks for; nothing but scaling is left to do."""
    made = decide(world.spec, world.remembered(), world.readings(), world.facts(), world.clock())
    asked = [each for each in made.actions if not isinstance(each, Persist | Announce)]
    for each in made.actions:
        world.do(each)
    scales = [each for each in asked if isinstance(each, Scale)]
    assert scales == asked
    return scales


def test_the_baseline_of_a_promoted_rollout_is_brought_down_once_to_what_its_autoscaler_keeps() -> None:
    state = State(phase="Succeeded", run=RUN, step=2, weight=100, stratum=4, entered_at=START, confirmed_at=START)
    world = World(state=state.to_json(), router=RouterFacts(100, 4, RUN.id, "self"), now=START + 1000)
    world.baseline = dataclasses.replace(serving(BASELINE), lowest=1)
    assert world.spec.capacity.idle_replicas == 0
    assert looked(world) == [Scale("baseline", 1)]
    assert looked(world) == []
    world.baseline = dataclasses.replace(serving(BASELINE), lowest=0)
    assert looked(world) == [Scale("baseline", 0)], "a Deployment of its own has none"
    assert looked(world) == []
