"""kill -9 of every process of a stack as `mgoe up` starts it, one after the other, under users."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.faults.finding import LATE, Kept, kept_of
from benchmarks.faults.machine import Machine
from benchmarks.faults.users import Seen
from benchmarks.results import Row
from serving.stack.records import SUPERVISOR, living
from serving.stack.stack import view

HELD_S = 0.05
"""A request that was sent so soon after the end may have found its connection not closed yet."""
QUIET_S = 2.0
"""Of users before and after each kill."""


@dataclass(frozen=True)
class Kill:
    """One process' end. Moments are monotonic."""

    process: str
    at: float
    back_s: float
    """Until another did its work."""


@dataclass(frozen=True)
class Deaths:
    """All of them, under the same users."""

    kills: tuple[Kill, ...]
    seen: tuple[Seen, ...]
    kept: Kept

    def rows(self) -> list[Row]:
        """Of the table: answers from each kill until the next one."""
        ends = [kill.at for kill in self.kills[1:]] + [float("inf")]
        return [_row(kill, self.seen, end) for kill, end in zip(self.kills, ends, strict=True)]

    def summary(self) -> Row:
        """What the evidence has of the whole time."""
        return {
            "answered": sum(one.outcome == "ok" for one in self.seen),
            "outcomes acknowledged": self.kept.outcomes,
            "outcomes lost": self.kept.outcomes_lost,
            "exposures": self.kept.exposures,
            "exposures not logged": self.kept.exposures_lost,
        }

    def lost(self) -> list[Seen]:
        """Requests that failed though no process that died held their connection, late ones left out."""
        return [
            one
            for one in self.seen
            if one.outcome not in {"ok", *LATE} and not any(_held(one, kill) for kill in self.kills)
        ]


def deaths(machine: Machine) -> Deaths:
    """A rollout at half and half; all processes are killed once, the supervisor last."""
    rollout = machine.create("kills", steps=[{"weight": 50, "minSeconds": 86_000}])
    rollout.wait("Ramping")
    kills = []
    with machine.users(rollout) as users:
        rollout.wait_weight(50)
        for name in [one.service.name for one in view(machine.folder).processes]:
            time.sleep(QUIET_S)
            killed, at = machine.kill(name), time.monotonic()
            kills.append(Kill(name, at, machine.wait_back(name, killed)))
        time.sleep(QUIET_S)
        machine.kill(SUPERVISOR)
        at = time.monotonic()
        machine.wait(lambda: SUPERVISOR not in living(machine.folder), "the supervisor's end", 0.01)
        machine.up()
        kills.append(Kill(SUPERVISOR, at, time.monotonic() - at))
        time.sleep(QUIET_S)
    return Deaths(tuple(kills), tuple(users.seen), kept_of(machine.database, rollout.experiment, users))


def _held(one: Seen, kill: Kill) -> bool:
    """Whether this failed because an Envoy that it was sent to ended under it."""
    sent = one.at - one.took_s
    of_gateway = kill.process.startswith("gateway")
    return of_gateway and one.outcome == "connection" and sent < kill.at + HELD_S and one.at >= kill.at - HELD_S


def _row(kill: Kill, seen: Sequence[Seen], end: float) -> Row:
    mine = [one for one in seen if kill.at <= one.at < end]
    failed = [one for one in mine if one.outcome != "ok"]
    held = [one for one in failed if _held(one, kill)]
    late = [one for one in failed if one.outcome in LATE]
    return {
        "process": kill.process,
        "back, s": round(kill.back_s, 1),
        "requests until the next kill": len(mine),
        "cut: the dead process held their connection": len(held),
        "failed otherwise": len(failed) - len(held) - len(late),
        "late (1 s)": len(late),
    }
