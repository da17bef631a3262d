"""Rollouts that live by the real loop, with real evidence, on a clock that a test moves: what the console reads.

Store, decision, evidence intake and statistics are the product's own. The router and the arms are fields in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sqlalchemy import Engine

from serving.evidence.engine import writing
from serving.evidence.event import MICRO, SECOND, Exposure, Outcome
from serving.evidence.intake import take
from serving.evidence.limits import Limits
from serving.evidence.series import snapshot
from serving.gateway.assignment import arm, bucket
from serving.rollout.actions import Scale, SetWeights
from serving.rollout.asked_evidence import AskedEvidence
from serving.rollout.driver import Observation
from serving.rollout.evidence_measures import EvidenceMeasures
from serving.rollout.evidence_store import DatabaseEvidence
from serving.rollout.facts import ArmFacts, Clock, RouterFacts
from serving.rollout.fence import Alone
from serving.rollout.judgement import Naming
from serving.rollout.readings import GuardrailReading
from serving.rollout.reconcile import Edges, Reconciler
from serving.rollout.spec import ModelRolloutSpec, ModelSource
from serving.rollout.spec_measures import Guardrail
from serving.rollout.sqlite_store import SqliteStore
from serving.rollout.status import ModelRolloutStatus
from serving.rollout.status_text import status_of
from serving.rollout.store import Key, Stored
from tests.serving.evidence.conftest import quick_engine

BASELINE, CANDIDATE = "b" * 64, "c" * 64
LIMITS = Limits()

SPEC: dict[str, Any] = {
    "baseline": {"bundle": "s3://mgoe/bundles/mmoe", "digest": BASELINE},
    "candidate": {"bundle": "s3://mgoe/bundles/mgoe", "digest": CANDIDATE},
    "driver": {"type": "local", "services": {"baseline": "mmoe", "candidate": "mgoe"}},
    "steps": [
        {"weight": 5, "minSeconds": 60, "minUnits": 40},
        {"weight": 20, "minSeconds": 120, "minUnits": 150},
        {"weight": 50, "minSeconds": 120, "minUnits": 100_000},
    ],
    "metrics": [
        {"name": "clicks", "kind": "Ratio", "value": "click", "denominator": "exposures", "role": "Primary"},
        {"name": "watch-time", "value": "seconds", "role": "NonInferior", "margin": 0.03},
        {"name": "likes", "kind": "Proportion", "value": "like", "role": "Secondary"},
    ],
    "guardrails": [
        {"name": "errors", "type": "ErrorRate", "max": 0.01, "minRequests": 100},
        {"name": "latency", "type": "P99", "max": 60, "minRequests": 100},
    ],
    "analysis": {"burnInUnits": 30, "sliceSeconds": 60, "plannedUnits": 20_000, "minEffect": 0.03, "staleSeconds": 600},
    "promotion": {"mode": "Manual", "bakeSeconds": 60},
    "whenBlind": {"seconds": 300},
}


class Router:
    """The split of one rollout, and its arms in full health."""

    assignment: Literal["Unit", "Request"] = "Unit"

    def __init__(self) -> None:
        self.weight: int | None = 0
        self.stratum: int | None = None
        self.run: str | None = None

    async def observe(self) -> Observation:
        owner: Literal["self", "nobody"] = "nobody" if self.run is None else "self"
        return Observation(
            ArmFacts(ready=1, serving=frozenset({BASELINE})),
            ArmFacts(ready=1, serving=frozenset({CANDIDATE})),
            RouterFacts(self.weight, self.stratum, self.run, owner),
        )

    async def set_weights(self, wanted: SetWeights) -> None:
        self.weight, self.stratum, self.run = wanted.candidate, wanted.stratum, wanted.run

    async def scale(self, wanted: Scale) -> None:
        """Nothing to scale."""


class Models:
    """Sources that name their digest."""

    async def digest(self, source: ModelSource) -> str | None:
        return source.digest


@dataclass
class ConsoleWorld:
    """A folder with rollouts and their evidence. now: unix seconds, moved by `live`."""

    folder: Path
    now: float = 1_790_000_000.0
    seed: int = 7
    values: dict[str, float] = field(default_factory=lambda: {"errors": 0.002, "latency": 31.0})
    clicks: dict[str, float] = field(default_factory=lambda: {"baseline": 0.30, "candidate": 0.36})
    _routers: dict[str, Router] = field(default_factory=dict)
    _measures: dict[str, EvidenceMeasures] = field(default_factory=dict)
    _units: int = 0

    def __post_init__(self) -> None:
        self.store = SqliteStore(self.folder / "rollouts.db", self.clock)
        self.database = f"sqlite:///{self.folder / 'evidence.db'}"
        self.engine: Engine = quick_engine(self.folder)
        self._random = np.random.default_rng(self.seed)
        self._loop = Reconciler(self.store, Alone(), self._edges, lambda _: Clock(round(self.now, 3)))

    def clock(self) -> float:
        return self.now

    def create(self, name: str = "feed", **changes: object) -> Stored:
        """A rollout of the example's spec."""
        return self.store.create(name, {**SPEC, **changes})

    def status(self, name: str = "feed") -> ModelRolloutStatus:
        return status_of(self.store.read(name))

    def router(self, name: str = "feed") -> Router:
        return self._routers.setdefault(self.store.read(name).uid, Router())

    def look(self) -> None:
        """The controller looks at every rollout once."""
        for name in self.store.names():
            with ThreadPoolExecutor(1) as thread:  # the caller's own may be in a loop: Playwright's is
                outcome = thread.submit(asyncio.run, self._loop.reconcile(Key("local", name))).result()
            assert outcome != "fault", name

    def live(self, seconds: float, name: str = "feed", units: int = 0, every: float = 30.0) -> None:
        """Time goes by: users come to one rollout, the controller looks, the evidence is kept."""
        rounds = max(1, round(seconds / every))
        for number in range(rounds):
            self.now += seconds / rounds
            self.visit(name, units * (number + 1) // rounds - units * number // rounds)
            self.look()
            if self.status(name).run is not None:
                snapshot(self.engine, self.experiment(name), round(self.now * SECOND))

    def until(self, holds: Callable[[ModelRolloutStatus], bool], name: str = "feed", units: int = 200) -> None:
        """Lives until the status is so."""
        for _ in range(60):
            if holds(self.status(name)):
                return
            self.live(30, name, units)
        raise AssertionError(self.status(name).message)

    def visit(self, name: str, units: int, candidates_share: float | None = None) -> None:
        """New users come once each. candidates_share: a gateway that does not split as it says."""
        status = self.status(name)
        if not units or status.run is None or not status.weight:
            return
        read = self.store.read(name)
        salt = Naming.of(ModelRolloutSpec.model_validate(read.spec), read.identity).salt
        events: list[Exposure | Outcome] = []
        for _ in range(units):
            self._units += 1
            unit = f"u{self._units}"
            at = round((self.now - self._random.random() * 20) * SECOND)
            weight = status.weight * 100 if candidates_share is None else round(candidates_share * 10_000)
            side = arm(bucket(salt, unit), weight)
            digest = CANDIDATE if side == "candidate" else BASELINE
            experiment = self.experiment(name)
            events.append(Exposure(experiment, f"e-{unit}", unit, side, digest, status.stratum, at))
            found = {
                "click": float(self._random.random() < self.clicks[side]),
                "seconds": float(self._random.gamma(4.0, 5.0)),
                "like": float(self._random.random() < 0.08),
            }
            events += [
                Outcome(experiment, f"{metric}-{unit}", metric, round(value * MICRO), at + 1, exposure_id=f"e-{unit}")
                for metric, value in found.items()
                if value
            ]
        with writing(self.engine) as connection:
            take(connection, events, LIMITS)

    def experiment(self, name: str) -> str:
        """Name of the present run's evidence."""
        read, status = self.store.read(name), self.status(name)
        assert status.run is not None
        return Naming.of(ModelRolloutSpec.model_validate(read.spec), read.identity).experiment(status.run.id)

    def _edges(self, read: Stored, _: ModelRolloutSpec) -> Edges:
        measures = self._measures.setdefault(
            read.uid,
            EvidenceMeasures(AskedEvidence(DatabaseEvidence(self.engine, self.clock)), read.identity, self, self.clock),
        )
        return Edges(self._routers.setdefault(read.uid, Router()), measures, Models())

    async def read(self, guardrails: tuple[Guardrail, ...]) -> tuple[GuardrailReading, ...]:
        """The guardrails' values."""
        return tuple(GuardrailReading(each.name, self.values[each.name], 5000, self.now) for each in guardrails)
