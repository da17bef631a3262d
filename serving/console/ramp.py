"""Where a rollout stands on its ramp, and what comes next, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from serving.console.wish import Sight
from serving.console.words import duration, number
from serving.rollout.state import UNDER_TRAFFIC, Phase


@dataclass(frozen=True)
class Rung:
    """One weight of the ramp."""

    weight: int
    place: Literal["past", "present", "ahead"]


@dataclass(frozen=True)
class Progress:
    """How far the present step has come."""

    name: str
    have: float
    need: float
    words: str

    @property
    def share(self) -> float:
        """0 to 100."""
        return 100.0 if self.need <= 0 else max(0.0, min(100.0, 100 * self.have / self.need))


def rungs(sight: Sight) -> tuple[Rung, ...]:
    """The steps, cut to maxWeight, and 100 %."""
    status, most = sight.status, sight.spec.max_weight
    weights = list(dict.fromkeys(min(step.weight, most) for step in sight.spec.steps))
    begun = status.phase in UNDER_TRAFFIC or status.phase == "Succeeded"
    found = [Rung(weight, _place(begun, weight, status.weight)) for weight in weights if weight < 100]
    if most == 100:
        found.append(Rung(100, _place(begun, 100, status.weight)))
    return tuple(found)


def _place(begun: bool, weight: int, present: int) -> Literal["past", "present", "ahead"]:
    if not begun or weight > present:
        return "ahead"
    return "present" if weight == present else "past"


def progress(sight: Sight, now: float) -> tuple[Progress, ...]:
    """What the present step still lacks: time and units; in a promotion, the time under guard."""
    status, spec = sight.status, sight.spec
    seconds = 0.0 if status.confirmed_at is None else max(0.0, now - status.confirmed_at)
    if status.phase == "Promoting" and status.weight == 100:
        return (_time("at 100 % under guard", seconds, spec.promotion.bake_seconds),)
    if status.phase not in {"Ramping", "Paused"}:
        return ()
    step = spec.steps[min(status.step, len(spec.steps) - 1)]
    units = min(status.evidence.baseline_units, status.evidence.candidate_units)
    told = f"{number(units)} of {number(step.min_units)} units in the smaller arm"
    return (
        _time(f"at {status.weight} %", seconds, step.min_seconds),
        Progress("units", units, step.min_units, told),
    )


def _time(where: str, have: float, need: float) -> Progress:
    if have >= need:
        return Progress("time", have, need, f"{duration(have)} {where} ({duration(need)} were needed)")
    return Progress("time", have, need, f"{duration(have)} of {duration(need)} {where}")


def state_words(sight: Sight) -> str:
    """Where the rollout stands, in one sentence."""
    status, steps = sight.status, len(sight.spec.steps)
    has = "nobody knows which part" if status.observed_weight is None else f"{status.observed_weight} %"
    match status.phase:
        case "Pending":
            return "Waiting until it is known which models are meant; all users are on the baseline."
        case "Validating":
            return "Waiting until both arms are ready and everything can be measured; all users are on the baseline."
        case "Ramping" | "Paused":
            where = "at a weight that a person set" if status.overridden else f"step {status.step + 1} of {steps}"
            how = "Paused" if status.phase == "Paused" else "Ramping"
            return f"{how}, {where}: the candidate has {has} of the users."
        case "Promoting":
            return f"Promoting: the candidate has {has} of the users, and is to keep all under guard."
        case "Succeeded" if sight.superseded is not None:
            return f"The candidate was promoted, and is not what the router has now: {sight.superseded}"
        case _:
            return _ENDS[status.phase].format(why=status.message or status.reason)


_ENDS: Mapping[Phase, str] = {
    "Succeeded": "The candidate is the model in production: {why}",
    "RollingBack": "The candidate is being taken to 0 %: {why}",
    "RolledBack": "All users are on the baseline again: {why}",
    "Failed": "The run has failed, all users are on the baseline: {why}",
}


def next_words(sight: Sight) -> str:
    """What happens next if nobody does anything."""
    phase = sight.status.phase
    if sight.superseded is not None:
        return "Nothing: another rollout, or a person, has changed the router since."
    if sight.promotion_waits:
        return _PROMOTION[phase]
    if phase == "Ramping":
        return _after_step(sight)
    if phase in {"Pending", "Validating"}:
        return f"Traffic begins with {rungs(sight)[0].weight} % when both arms are ready and all can be measured."
    return _AFTER[phase]


_PROMOTION: Mapping[Phase, str] = {
    "Validating": "As a person asked, the candidate gets all traffic when both arms are ready and all can be measured.",
    "Ramping": "The candidate gets all traffic, as a person asked, as soon as nothing stands against it.",
    "Paused": "Nothing until somebody resumes; then the candidate gets all traffic, as a person asked.",
}
_AFTER: Mapping[Phase, str] = {
    "Paused": "Nothing until somebody resumes; guardrails still act.",
    "Promoting": "The candidate keeps all traffic if no guardrail breaks.",
    "Succeeded": "Nothing: the candidate has all traffic.",
    "RollingBack": "The rollout ends as soon as the router is read back with 0 % for the candidate.",
    "RolledBack": "Nothing: the baseline has all traffic. The same pair can be run again with a new attempt.",
    "Failed": "Nothing: the baseline has all traffic. The same pair can be run again with a new attempt.",
}


def _after_step(sight: Sight) -> str:
    status, spec = sight.status, sight.spec
    if status.overridden or sight.override is not None:
        return "Nothing until the weight is given back to the ramp; guardrails still act."
    ahead = [rung.weight for rung in rungs(sight) if rung.place == "ahead" and rung.weight < 100]
    if ahead and status.step < len(spec.steps) - 1:
        return f"The weight rises to {ahead[0]} % when this step has its time and its units and nothing is harmed."
    if spec.max_weight < 100:
        return f"The weight stays: maxWeight is {spec.max_weight}, and promotion needs 100."
    if spec.promotion.mode == "Manual":
        return "The last step is held until a person promotes."
    return "The candidate is promoted when the verdict is Win, and rolled back when harm is shown or the deadline ends."
