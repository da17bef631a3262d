"""What a fault did: to traffic, to the users of the healthy arm, to what was acknowledged."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.faults.users import Seen, Users
from benchmarks.results import Row
from serving.gateway.assignment import Arm

LATE = frozenset({"504", "timeout"})
"""Answers that a healthy ranker did not give in time: on a machine that has other work, no loss by the fault."""
CATCH_UP_S = 60.0
"""Until exposures of the gateway's log are in the evidence."""


@dataclass(frozen=True)
class Toll:
    """Answers that were not good, by what came instead."""

    lost: Counter[str] = field(default_factory=Counter)
    """Of a healthy arm, without those that came late."""
    late: Counter[str] = field(default_factory=Counter)
    unreached: Counter[str] = field(default_factory=Counter)
    """No arm got the request: there was no gateway."""
    sick: Counter[str] = field(default_factory=Counter)
    """Of the arm that the fault is about."""


@dataclass(frozen=True)
class Kept:
    """What the evidence has of it, by ids."""

    outcomes: int
    """Acknowledged ones."""
    outcomes_lost: int
    """Of those."""
    exposures: int
    """Lists that users have got."""
    exposures_lost: int
    """Of those."""


@dataclass(frozen=True)
class Finding:
    """Of one fault. Times in seconds; None: the fault asks for none."""

    fault: str
    end: str
    """Phase of the rollout, and the reason of its last transition but the closing one."""
    zero_from_fault_s: float | None
    """Until Envoy routes nothing to the candidate."""
    zero_from_seen_s: float | None
    """The same, from the moment at which the answers that users have got are a breach."""
    back_s: float | None
    """From the end of a process until another did its work."""
    answered: int
    after_zero: int
    """Requests that went to the candidate after Envoy routed nothing to it."""
    toll: Toll
    kept: Kept
    load: float = field(default_factory=lambda: os.getloadavg()[0])
    """Of the machine over the last minute."""

    def row(self) -> Row:
        """Of the table."""
        return {
            "fault": self.fault,
            "ends": self.end,
            "to 0 %, s": _rounded(self.zero_from_fault_s),
            "since it can be seen, s": _rounded(self.zero_from_seen_s),
            "process back, s": _rounded(self.back_s),
            "answered": self.answered,
            "candidate after 0 %": "-" if self.zero_from_fault_s is None else self.after_zero,
            "lost at a healthy arm": _counted(self.toll.lost),
            "late (1 s)": _counted(self.toll.late),
            "no gateway": _counted(self.toll.unreached),
            "failed at the sick arm": _counted(self.toll.sick),
            "outcomes acknowledged": self.kept.outcomes,
            "of them lost": self.kept.outcomes_lost,
            "exposures": self.kept.exposures,
            "of them not logged": self.kept.exposures_lost,
            "load": round(self.load, 1),
        }


@dataclass(frozen=True)
class Breach:
    """When answers are one: of the latest `window_s`, at least `requests` of the candidate, more than a share bad."""

    share: float
    requests: int
    window_s: float = 5.0
    slow_s: float = float("inf")

    def seen_at(self, seen: Sequence[Seen], since: float) -> float | None:
        """The first moment after `since`; None: never."""
        mine = sorted((one for one in seen if one.arm == "candidate"), key=lambda one: one.at)
        for last, one in enumerate(mine):
            if one.at < since:
                continue
            window = [each for each in mine[: last + 1] if each.at > one.at - self.window_s]
            bad = sum(each.outcome != "ok" or each.took_s > self.slow_s for each in window)
            if len(window) >= self.requests and bad > self.share * len(window):
                return one.at
        return None


WORKERS_S = 0.1
"""Envoy's workers have what its main thread tells of within this."""


def after_zero(seen: Sequence[Seen], zero_at: float) -> int:
    """Requests of the candidate that were sent when there should have been none."""
    return sum(one.arm == "candidate" and one.at - one.took_s > zero_at + WORKERS_S for one in seen)


def toll_of(seen: Sequence[Seen], sick: Arm | None) -> Toll:
    """Bad answers by whose they are."""
    toll = Toll()
    for one in seen:
        if one.outcome == "ok":
            continue
        if one.arm is None and one.outcome == "connection":
            place = toll.unreached
        elif sick is not None and one.arm in {sick, None}:
            place = toll.sick
        else:
            place = toll.late if one.outcome in LATE else toll.lost
        place[one.outcome] += 1
    return toll


def kept_of(database: Path, experiment: str, users: Users) -> Kept:
    """Acknowledged outcomes, and exposures of answered lists, that the database does not have; waits for the latter."""
    outcomes = set(users.acknowledged)
    exposures = {str(one.exposure_id) for one in users.seen if one.outcome == "ok"}
    deadline = time.monotonic() + CATCH_UP_S
    while True:
        missing = exposures - _ids(database, "exposures", "exposure_id", experiment)
        if not missing or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    lost = outcomes - _ids(database, "outcomes", "event_id", experiment)
    return Kept(len(outcomes), len(lost), len(exposures), len(missing))


def _ids(database: Path, table: str, column: str, experiment: str) -> set[str]:
    query = (
        f"SELECT {column} FROM {table} JOIN experiments ON experiments.id = {table}.experiment_id "  # noqa: S608
        "WHERE experiments.name = ?"
    )
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as opened:
        return {str(each) for (each,) in opened.execute(query, (experiment,))}


def _rounded(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f}"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} x {kind}" for kind, count in sorted(counts.items())) or "0"
