"""What Prometheus reads of the rollouts, and whether the process that moves them lives."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import ValidationError

from serving.rollout.reconcile import Outcome
from serving.rollout.state import Phase, Transition
from serving.rollout.status import ModelRolloutStatus
from serving.rollout.store import Key, Store, Stored

STALL_S = 60.0
"""Without a turn of the loop for so long the process is not alive."""
_OF = ("namespace", "rollout")


class Telemetry:
    """Gauges and counters of one process, in a registry of its own."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._turned: float | None = None
        registry = self._registry = CollectorRegistry()
        self._phase = Gauge(
            "mgoe_rollout_phase", "1 for the phase that a rollout is in.", (*_OF, "phase"), registry=registry
        )
        self._weight = Gauge(
            "mgoe_rollout_weight_percent",
            "Candidate's weight as wanted, and as the router has it (NaN: it cannot be read).",
            (*_OF, "of"),
            registry=registry,
        )
        self._stratum = Gauge("mgoe_rollout_stratum", "Number of the present weight.", _OF, registry=registry)
        self._condition = Gauge(
            "mgoe_rollout_condition", "1: the condition is true.", (*_OF, "type"), registry=registry
        )
        self._transitions = Counter("mgoe_rollout_transitions", "Transitions.", (*_OF, "reason"), registry=registry)
        self._looks = Counter(
            "mgoe_rollout_looks", "Looks at a rollout, by outcome.", (*_OF, "outcome"), registry=registry
        )
        self._seconds = Histogram(
            "mgoe_rollout_look_seconds",
            "Time of a look, with its writes.",
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
            registry=registry,
        )
        self._leader = Gauge("mgoe_rollout_leader", "1: this process may write.", registry=registry)

    def leading(self, leads: bool) -> None:
        """A turn of the loop: whether this process leads."""
        self._turned = self._monotonic()
        self._leader.set(int(leads))

    @property
    def alive(self) -> bool:
        """Whether the loop turns; also before its first turn."""
        return self._turned is None or self._monotonic() - self._turned < STALL_S

    @property
    def ready(self) -> bool:
        """Whether the loop has turned."""
        return self._turned is not None and self.alive

    def looked(self, key: Key, outcome: Outcome, seconds: float) -> None:
        """A look at a rollout has ended."""
        self._turned = self._monotonic()
        self._looks.labels(*key, outcome).inc()
        self._seconds.observe(seconds)
        if outcome in {"gone", "released"}:
            self._forget(key)

    def moved(self, key: Key, transition: Transition) -> None:
        """A transition was announced."""
        self._transitions.labels(*key, transition.reason).inc()

    def shown(self, key: Key, document: Mapping[str, Any]) -> None:
        """A status was read or written."""
        try:
            status = ModelRolloutStatus.model_validate(document or {})
        except ValidationError:  # the loop says so
            return
        for phase in get_args(Phase):
            self._phase.labels(*key, phase).set(int(phase == status.phase))
        self._weight.labels(*key, "wanted").set(status.weight)
        self._weight.labels(*key, "observed").set(
            float("nan") if status.observed_weight is None else status.observed_weight
        )
        self._stratum.labels(*key).set(status.stratum)
        for condition in status.conditions:
            self._condition.labels(*key, condition.type).set(int(condition.status == "True"))

    def _forget(self, key: Key) -> None:
        of = dict(zip(_OF, key, strict=True))
        for gauge in (self._phase, self._weight, self._stratum, self._condition):
            gauge.remove_by_labels(of)

    def render(self) -> bytes:
        """All of it as Prometheus' text."""
        return generate_latest(self._registry)


@dataclass(frozen=True)
class WatchedStore:
    """A store whose reads and writes are told."""

    store: Store
    telemetry: Telemetry = field(default_factory=Telemetry)

    async def get(self, key: Key) -> Stored | None:
        """The present version."""
        read = await self.store.get(key)
        if read is not None:
            self.telemetry.shown(key, read.status)
        return read

    async def keys(self) -> tuple[Key, ...]:
        """All rollouts."""
        return await self.store.keys()

    async def write_status(self, read: Stored, status: Mapping[str, Any]) -> Stored:
        """Replace the status."""
        written = await self.store.write_status(read, status)
        self.telemetry.shown(read.key, status)
        return written

    async def hold(self, read: Stored) -> Stored:
        """Add our finalizer."""
        return await self.store.hold(read)

    async def release(self, read: Stored) -> None:
        """Take our finalizer away."""
        await self.store.release(read)

    async def announce(self, read: Stored, transition: Transition, warning: bool) -> None:
        """One Event for a transition."""
        await self.store.announce(read, transition, warning)
        self.telemetry.moved(read.key, transition)
