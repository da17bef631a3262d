"""What a person ought to look at, in sentences, the gravest first. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from serving.console.wish import Sight
from serving.console.words import duration, moment
from serving.rollout.state import UNDER_TRAFFIC

Gravity = Literal["bad", "warn"]
SILENT_S = 90.0
"""A controller that lives writes its status at least every 30 s; after three times that nobody may be looking."""


@dataclass(frozen=True)
class Notice:
    """One thing to look at."""

    gravity: Gravity
    words: str


def notices(sight: Sight, now: float) -> tuple[Notice, ...]:
    """What needs a person, or explains why something that was asked for does not happen."""
    return tuple(sorted(_found(sight, now), key=lambda one: one.gravity != "bad"))


def _found(sight: Sight, now: float) -> Iterator[Notice]:
    status, phase = sight.status, sight.status.phase
    if sight.deleted:
        yield Notice("warn", "The rollout is being deleted: it goes when all traffic is back on the baseline.")
    if phase in {"Failed", "RollingBack"}:
        yield Notice("bad", f"{_SAID[phase]}: {status.message}")
    if sight.superseded is not None:
        yield Notice("bad", f"The promoted model is not what users get: {sight.superseded}.")
    if sight.over:
        return
    yield from _alarm(sight)
    yield from _guardrails(sight)
    yield from _controller(sight, now)
    yield from (
        Notice("warn", f"A wish is not taken up: {one}.") for one in status.steering.ignored if not _old(one, sight)
    )
    if sight.promotion_waits:
        yield Notice("warn", "A promotion was asked for and waits. It can be withdrawn until it begins.")
    degraded = status.condition("Degraded")
    if degraded is not None and degraded.status == "True" and degraded.reason == "Blind":
        yield Notice("warn", f"Something cannot be seen, and the weight is held: {degraded.message}.")
    if _waits_for_promotion(sight):
        yield Notice("warn", "The candidate has won, and promotion is Manual: it waits for a person to promote it.")


def _old(ignored: str, sight: Sight) -> bool:
    """Whether a wish is ignored because the run that it was for is over: nobody waits for it any more."""
    begun = [line.message for line in sight.status.history if line.reason == "NewRun"]
    return any(f" is for run {run};" in ignored for run in map(_run_of, begun[:-1]))


def _run_of(message: str) -> str:
    """The run in `run RUN: ...`, as a new run's line begins."""
    return message.partition(":")[0].removeprefix("run ")


_SAID = {"Failed": "The run has failed", "RollingBack": "The candidate is being taken to 0 %"}


def _alarm(sight: Sight) -> Iterator[Notice]:
    alarm = sight.status.alarm
    if alarm is not None and not alarm.acknowledged:
        yield Notice(
            "bad",
            f"Sample ratio alarm: users are not split as the weights say (p = {alarm.p_value:.2g}, since "
            f"{moment(alarm.raised_at)}). Nothing rises until somebody acknowledges it.",
        )


def _guardrails(sight: Sight) -> Iterator[Notice]:
    for guardrail in sight.status.guardrails:
        if guardrail.state == "Breached":
            yield Notice("bad", f"Guardrail {guardrail.name} is broken: {guardrail.message or 'beyond its limit'}.")


def _controller(sight: Sight, now: float) -> Iterator[Notice]:
    status = sight.status
    as_of = status.evidence.as_of
    if as_of is not None and now - as_of > SILENT_S:
        yield Notice(
            "bad",
            f"The last report is {duration(now - as_of)} old: the controller, or its evidence, may be down, and "
            "nobody may be watching.",
        )
    elif not status.observed_generation:
        yield Notice("warn", "No controller has looked at it yet.")
    elif sight.generation > status.observed_generation:
        yield Notice(
            "warn",
            f"The controller has not taken up the latest change yet (generation {sight.generation}, seen "
            f"{status.observed_generation}).",
        )
    wanted, observed = status.weight, status.observed_weight
    if status.phase in UNDER_TRAFFIC and observed is None:
        yield Notice("warn", "The router cannot be read: nobody knows which split is in force.")
    elif status.phase in UNDER_TRAFFIC and observed != wanted:
        yield Notice("warn", f"The router has {observed} %, wanted are {wanted} %.")


def _waits_for_promotion(sight: Sight) -> bool:
    last = sight.status.step >= len(sight.spec.steps) - 1
    manual = sight.spec.promotion.mode == "Manual" and sight.status.phase == "Ramping"
    return manual and last and sight.status.evidence.verdict == "Win"
