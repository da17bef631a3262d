"""Invariant 11 with the whole loop under virtual time: watch events are dropped, repeated and late, reads are old, the
operator is killed after any single write; every life ends the same.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from serving.rollout.controller import Controller
from serving.rollout.store import Key, Stored
from tests.serving.rollout.rollout_cluster import KEY, Cluster, Hand, KilledError, winning
from tests.serving.rollout.rollout_world import START, World
from tests.serving.rollout.virtual_time import lived

INTERVAL_S = 5.0
RESTART_S = 3.0
END_S = 900.0


@dataclass
class Weather:
    """What becomes of an event and of a read; chances."""

    seed: int = 0
    dropped: float = 0.0
    repeated: float = 0.0
    late: float = 0.0
    old: float = 0.0
    """A read gives the version before, a list leaves the rollout out."""
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def happens(self, chance: float) -> bool:
        return self.random.random() < chance

    def deliveries(self) -> list[float]:
        """Seconds until each delivery of one event."""
        if self.happens(self.dropped):
            return []
        times = 3 if self.happens(self.repeated) else 1
        return [self.random.uniform(0.5, 60) if self.happens(self.late) else 0.0 for _ in range(times)]


class Api(Cluster):
    """The cluster with a clock that goes on, a watch, and this weather."""

    def __init__(self, world: World, hand: Hand, weather: Weather) -> None:
        super().__init__(world, hand)
        self.weather = weather
        self.hear: Callable[[Key], None] = lambda _: None
        self._told = self.version

    async def get(self, key: Key) -> Stored | None:
        self.world.now = START + asyncio.get_running_loop().time()
        self.tell()
        self.shows_old = self.weather.happens(self.weather.old)
        return await super().get(key)

    async def keys(self) -> tuple[Key, ...]:
        return () if self.weather.happens(self.weather.old) else await super().keys()

    def tell(self) -> None:
        """One event for the versions since the last one."""
        if self.version == self._told:
            return
        self._told = self.version
        for seconds in self.weather.deliveries():
            asyncio.get_running_loop().call_later(seconds, lambda: self.hear(KEY))


Story = tuple[tuple[float, Callable[[Api], None]], ...]


def well(api: Api) -> None:
    api.world.units = 600


def breach(api: Api) -> None:
    api.world.errors = 0.5


def delete(api: Api) -> None:
    api.world.deleted_at = START + asyncio.get_running_loop().time()
    api.version += 1


def edit(**changes: object) -> Callable[[Api], None]:
    return lambda api: api.edit(**changes)


RAMP = ("NewRun", "Started", "StepUp", "StepUp")
STORIES: dict[str, tuple[Story, tuple[str, ...], int]] = {
    "promotion": (((0, well), (250, winning)), (*RAMP, "Proven", "FullWeight", "Succeeded"), 100),
    "guardrail breach": (((0, well), (250, breach)), (*RAMP, "GuardrailBreached", "RolledBack"), 0),
    "abort": (((0, well), (250, edit(abort=True))), (*RAMP, "Aborted", "RolledBack"), 0),
    "deletion": (((0, well), (250, delete)), (*RAMP, "Deleted", "RolledBack"), 0),
}
"""What happens when, and how it must end: reasons and the router's weight."""


async def life(story: Story, hand: Hand, weather: Weather) -> Api:
    """The rollout's whole life. A killed operator is followed by a new process."""
    api, loop = Api(World(), hand, weather), asyncio.get_running_loop()

    def happen(what: Callable[[Api], None]) -> None:
        what(api)
        api.tell()

    for at, what in story:
        loop.call_later(at, happen, what)
    stop = asyncio.Event()
    loop.call_later(END_S, stop.set)
    while not stop.is_set():
        controller = Controller(api, api.operator(), interval_s=INTERVAL_S)
        api.hear = controller.wake
        try:
            await controller.run(stop)
        except KilledError:
            await asyncio.sleep(RESTART_S)
    return api


def ended(name: str, hand: Hand, weather: Weather) -> Api:
    """Judges the end."""
    story, reasons, weight = STORIES[name]
    api = lived(life(story, hand, weather))
    assert tuple(api.reasons()) == reasons
    assert api.world.events == list(range(1, len(reasons) + 1))
    assert api.world.router.weight == weight
    assert api.gone == (name == "deletion")
    strata = {stratum for _, stratum in api.router_log}
    assert len(strata) == len(set(api.router_log)), "a stratum had two weights"
    return api


@pytest.mark.parametrize("name", STORIES)
def test_no_event_at_all_and_every_event_thrice_end_the_same(name: str) -> None:
    ended(name, Hand(), Weather())
    ended(name, Hand(), Weather(dropped=1.0))
    ended(name, Hand(), Weather(repeated=1.0, late=1.0))


@pytest.mark.parametrize("name", STORIES)
@pytest.mark.parametrize("seed", range(3))
def test_in_bad_weather_it_ends_the_same(name: str, seed: int) -> None:
    ended(name, Hand(), Weather(seed, dropped=0.3, repeated=0.3, late=0.5, old=0.3))


@pytest.mark.slow
@pytest.mark.parametrize("name", STORIES)
def test_killed_after_any_single_write_in_bad_weather_it_ends_the_same(name: str) -> None:
    """A conflict at one write and the death after another, each place once."""
    calm = ended(name, Hand(), Weather())
    for place in range(1, calm.hand.writes + 1):
        hand = Hand(kill_after=place, conflict_at=1 + (place * 7) % calm.hand.writes)
        ended(name, hand, Weather(place, dropped=0.3, repeated=0.3, late=0.5, old=0.2))
        ended(name, Hand(kill_before=place), Weather(place, dropped=0.3, repeated=0.3, late=0.5, old=0.2))


@pytest.mark.parametrize("seed", range(8))
def test_a_breach_is_at_zero_within_ten_seconds_although_its_events_are_lost(seed: int) -> None:
    """Invariant 4 and the decision's ten seconds: the loop looks by itself. Old reads are left out: the store never
    reads from a cache."""

    async def watched() -> float:
        seen: list[float] = []
        weather = Weather(seed, dropped=0.7, late=0.5)
        api, loop = Api(World(), Hand(), weather), asyncio.get_running_loop()
        stop = asyncio.Event()
        controller = Controller(api, api.operator(), interval_s=INTERVAL_S)
        well(api)
        begun = 250.0 + weather.random.uniform(0, INTERVAL_S)
        loop.call_later(begun, breach, api)
        loop.call_later(begun + 30, stop.set)

        def look() -> None:
            if not seen and loop.time() > begun and api.world.router.weight == 0:
                seen.append(loop.time() - begun)
            loop.call_later(0.1, look)

        loop.call_later(begun, look)
        await controller.run(stop)
        return seen[0]

    assert lived(watched()) < 10
