"""The world behind the loop's protocols, with a hand that kills the operator, conflicts, and shows old versions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from model.errors import Fault
from serving.rollout.actions import Action, Announce, Scale, SetWeights
from serving.rollout.driver import Observation, StaleWriteError
from serving.rollout.facts import Clock
from serving.rollout.fence import Alone, Fence
from serving.rollout.readings import Readings
from serving.rollout.reconcile import Edges, Outcome, Reconciler
from serving.rollout.spec import ModelRolloutSpec, ModelSource
from serving.rollout.state import State, Transition
from serving.rollout.store import FINALIZER, ConflictError, Key, Stored
from tests.serving.rollout.rollout_world import World

KEY = Key("ranking", "feed")


class KilledError(BaseException):
    """The operator's process is gone. Nothing may catch this."""


class Hand:
    """Counts writes and interferes at the ones that it was told of."""

    def __init__(self, kill_before: int = 0, kill_after: int = 0, conflict_at: int = 0) -> None:
        self.kill_before, self.kill_after, self.conflict_at = kill_before, kill_after, conflict_at
        self.writes = 0

    def write(self, do: Callable[[], None], conflict: Callable[[], None] | None = None) -> None:
        self.writes += 1
        if self.writes == self.kill_before:
            raise KilledError
        if self.writes == self.conflict_at and conflict is not None:
            conflict()
        do()
        if self.writes == self.kill_after:
            raise KilledError


class Cluster:
    """Store, driver, measures and registry in one, over a World."""

    assignment: Literal["Unit", "Request"] = "Unit"

    def __init__(self, world: World, hand: Hand | None = None) -> None:
        self.world = world
        self.hand = hand or Hand()
        self.version = 1
        self.generation = 1
        self.held = False
        self.gone = False
        self.old: Stored | None = None
        self.shows_old = False
        """The next read gives the version before the present one."""
        self.router_fails = False
        self.router_log: list[tuple[int, int]] = []
        """(weight, stratum) of every write to the router."""
        self.status_writes = 0
        self.begun: set[tuple[str, int]] = set()
        """Runs and strata that the evidence knows."""

    # Store

    def _stored(self) -> Stored:
        return Stored(
            key=KEY,
            uid="0123456789abcdef",
            version=str(self.version),
            generation=self.generation,
            spec=self.world.spec.to_json(),
            status=dict(self.world.state),
            deleted_at=self.world.deleted_at,
            finalizers=(FINALIZER,) if self.held else (),
        )

    async def get(self, key: Key) -> Stored | None:
        assert key == KEY
        if self.gone:
            return None
        if self.shows_old and self.old is not None:
            self.shows_old = False
            return self.old
        return self._stored()

    async def keys(self) -> tuple[Key, ...]:
        return () if self.gone else (KEY,)

    def _written(self, read: Stored, change: Callable[[], None]) -> None:
        def do() -> None:
            if read.version != str(self.version):
                raise ConflictError(f"{KEY}: version {read.version} is not the present {self.version}")
            self.old = self._stored()
            change()
            self.version += 1

        def conflict() -> None:
            self.version += 1

        self.hand.write(do, conflict)

    async def write_status(self, read: Stored, status: Mapping[str, Any]) -> Stored:
        def change() -> None:
            self.world.state = dict(status)
            self.status_writes += 1

        self._written(read, change)
        return self._stored()

    async def hold(self, read: Stored) -> Stored:
        def change() -> None:
            self.held = True

        self._written(read, change)
        return self._stored()

    async def release(self, read: Stored) -> None:
        def change() -> None:
            self.gone = True

        self._written(read, change)

    async def announce(self, read: Stored, transition: Transition, warning: bool) -> None:
        self.hand.write(lambda: self._do(Announce(transition, warning)))

    # Driver

    async def observe(self) -> Observation:
        facts = self.world.facts()
        return Observation(facts.baseline, facts.candidate, facts.router)

    async def set_weights(self, wanted: SetWeights) -> None:
        if self.router_fails:
            raise Fault("the router does not answer")

        def do() -> None:
            if (self.world.router.stratum or 0) > wanted.stratum:
                raise StaleWriteError(f"stratum {wanted.stratum} comes after {self.world.router.stratum}")
            self.world.do(wanted)
            self.router_log.append((wanted.candidate, wanted.stratum))

        self.hand.write(do)

    async def scale(self, wanted: Scale) -> None:
        self.hand.write(lambda: self._do(wanted))

    def _do(self, action: Action) -> None:
        self.world.do(action)

    # Measures and models

    async def begin(self, spec: ModelRolloutSpec, state: State) -> None:
        assert state.run is not None
        stratum = (state.run.id, state.stratum)
        if stratum not in self.begun:
            self.hand.write(lambda: self.begun.add(stratum))

    async def read(self, spec: ModelRolloutSpec, state: State) -> Readings:
        return self.world.readings()

    async def digest(self, source: ModelSource) -> str | None:
        return self.world.wanted[0] if source == self.world.spec.baseline else self.world.wanted[1]

    # The loop

    def operator(self, fence: Fence | None = None) -> Reconciler:
        """A new process."""
        edges = Edges(driver=self, measures=self, models=self)
        return Reconciler(store=self, fence=fence or Alone(), edges=lambda *_: edges, clock=self._clock)

    def _clock(self, key: Key) -> Clock:
        return Clock(now=self.world.now)

    def edit(self, **changes: object) -> None:
        """A person's change of the spec."""
        self.world.set_spec(**changes)
        self.old = self._stored()
        self.version += 1
        self.generation += 1

    def reasons(self) -> list[str]:
        """Reasons of the history, in order."""
        return [line["reason"] for line in self.world.state.get("history", [])]


async def settle(cluster: Cluster, operator: Reconciler) -> tuple[Reconciler, Outcome]:
    """Reconcile until nothing moves; a killed operator is followed by a new one."""
    outcome: Outcome = "again"
    for _ in range(20):
        try:
            outcome = await operator.reconcile(KEY)
        except KilledError:
            operator = cluster.operator()
            continue
        if outcome in {"settled", "ended", "gone", "released"}:
            return operator, outcome
    raise AssertionError(f"the loop does not come to rest: {outcome}")


def healthy(cluster: Cluster, seconds: float = 121, units: int = 600) -> None:
    """Time goes by and everything is well."""
    cluster.world.now += seconds
    cluster.world.units = units


def winning(cluster: Cluster) -> None:
    """The evidence shows a win from now on."""
    clicks, gmv = cluster.world.evidence.metrics
    cluster.world.evidence = dataclasses.replace(
        cluster.world.evidence, verdict="win", metrics=(dataclasses.replace(clicks, low=0.005, proof=0.005), gmv)
    )
