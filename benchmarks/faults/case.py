"""One fault on one machine, from its rollout's beginning to its end."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field

from benchmarks.faults.finding import Breach, Finding, after_zero, kept_of, toll_of
from benchmarks.faults.machine import Machine, Rollout
from benchmarks.faults.users import Users
from model.errors import Fault
from serving.gateway.assignment import Arm
from serving.rollout import steering

HELD_S = 5.0
"""Two looks of the controller and more."""


@dataclass
class Case:
    """What a scenario does and notes. As a context: users that came are gone after it."""

    name: str
    machine: Machine
    sick: Arm | None = None
    """The arm that the fault is about."""
    breach: Breach | None = None
    """None: it can be seen when the fault begins."""
    fault_at: float = 0.0
    zero_at: float | None = None
    back_s: float | None = None
    rollout: Rollout = field(init=False)
    users: Users = field(init=False)
    _open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Case:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def create(self, **changes: object) -> None:
        """The rollout."""
        self.rollout = self.machine.create(self.name, **changes)

    def come(self) -> None:
        """The users, until the case is over."""
        self.users = self.machine.users(self.rollout)
        self._open.enter_context(self.users)

    def begin(self, weight: int, **changes: object) -> None:
        """A rollout at that weight under users; below 50 it goes on to that."""
        steps = [{"weight": weight, "minSeconds": 6, "minUnits": 10}, {"weight": 50, "minSeconds": 3600}]
        self.create(steps=steps[-1:] if weight == 50 else steps, **changes)
        self.rollout.wait("Ramping")
        self.come()
        self.rollout.wait_weight(weight)

    def hurt(self) -> None:
        """The fault begins now."""
        self.fault_at = time.monotonic()

    def falls(self) -> None:
        """Waits until the candidate has no traffic."""
        self.rollout.wait_weight(0)
        self.zero_at = time.monotonic()

    def ends(self) -> None:
        """Waits for the end of a rollback, and sees that the candidate stays without traffic."""
        self.rollout.wait("RolledBack")
        self.held(0)

    def require(self, phase: str) -> None:
        """Raises Fault where the rollout is in another phase."""
        found = self.rollout.status
        if found.phase != phase:
            raise Fault(f"{self.name}: {found.phase} in place of {phase}: {found.message}")

    def held(self, weight: int, seconds: float = HELD_S) -> None:
        """Raises Fault unless the weight stands for that long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self.machine.weight()
            if found not in {weight, None}:
                raise Fault(f"{self.name}: the weight went from {weight} to {found}: {self.rollout.status.message}")
            time.sleep(0.1)

    def restarted(self, process: str) -> None:
        """kill -9, and another does the work."""
        self.back_s = self.machine.wait_back(process, self.machine.kill(process))

    def promoted(self) -> None:
        """The ramp goes on to its last step, a person promotes, and the rollout succeeds."""
        self.rollout.wait_weight(50)
        self.rollout.wish(lambda spec: steering.promoted(spec, self.rollout.status))
        self.rollout.wait("Succeeded")
        self.rollout.wait_weight(100)

    def finding(self) -> Finding:
        """What it did; once the users are gone."""
        seen = self.users.seen
        history = self.rollout.status.history
        since_fault = since_seen = None
        if self.zero_at is not None:
            visible = None if self.breach is None else self.breach.seen_at(seen, self.fault_at)
            since_fault = self.zero_at - self.fault_at
            since_seen = max(0.0, self.zero_at - (visible or self.fault_at))
        return Finding(
            fault=self.name,
            end=f"{history[-1].target} ({history[-2].reason})",
            zero_from_fault_s=since_fault,
            zero_from_seen_s=since_seen,
            back_s=self.back_s,
            after_zero=0 if self.zero_at is None else after_zero(seen, self.zero_at),
            answered=sum(one.outcome == "ok" for one in seen),
            toll=toll_of(seen, self.sick),
            kept=kept_of(self.machine.database, self.rollout.experiment, self.users),
        )
