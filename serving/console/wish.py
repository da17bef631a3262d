"""What a person can wish: what it will do, when it makes no sense, when the page it was made on is too old. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from model.errors import UserError
from serving.rollout import steering
from serving.rollout.spec import ModelRolloutSpec, WeightOverride
from serving.rollout.state import TERMINAL
from serving.rollout.status import ModelRolloutStatus

MOVING = frozenset({"Ramping", "Paused"})


@dataclass(frozen=True)
class Seen:
    """Which rollout a person had before them: a wish is for that one, or it is refused."""

    generation: int
    run: str = ""
    alarm: str = ""


@dataclass(frozen=True)
class Sight:
    """A rollout at one moment."""

    name: str
    generation: int
    spec: ModelRolloutSpec
    status: ModelRolloutStatus
    deleted: bool = False

    @property
    def seen(self) -> Seen:
        """What a page made now has shown."""
        run, alarm = self.status.run, self.status.alarm
        return Seen(self.generation, run.id if run else "", alarm.id if alarm and not alarm.acknowledged else "")

    @property
    def override(self) -> WeightOverride | None:
        """The weight that a person set in this run; one that was left by another run is none."""
        wish, run = self.spec.weight_override, self.status.run
        return wish if wish is not None and run is not None and wish.run == run.id else None

    @property
    def promotion_waits(self) -> bool:
        """Whether this run's promotion was asked for and has not begun."""
        run = self.status.run
        asked = run is not None and self.spec.promote == run.id
        return asked and not self.over and self.status.phase in {*MOVING, "Validating"}

    @property
    def superseded(self) -> str | None:
        """What the router has in place of the promoted model; None: it has that."""
        ready = self.status.condition("Ready")
        gone = self.status.phase == "Succeeded" and ready is not None and ready.reason == "Superseded"
        return ready.message if gone and ready is not None else None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen in this run."""
        return self.status.phase in TERMINAL or self.deleted


@dataclass(frozen=True)
class Wish:
    """One kind of wish."""

    name: str
    label: str
    """On the button."""
    question: str
    """At the head of the page that asks for confirmation."""
    unfit: Callable[[Sight], str | None]
    """Why it makes no sense now; None: it does."""
    effects: Callable[[Sight, int | None], tuple[str, ...]]
    """What will happen, in sentences."""
    change: Callable[[dict[str, Any], ModelRolloutStatus, int | None], dict[str, Any]]
    """The spec with the wish. Raises UserError."""
    urgent: bool = False
    """It only takes away from the candidate: an edit of the spec in between does not hold it up."""
    danger: bool = False
    """It cannot be taken back."""
    weighs: bool = False
    """It comes with a weight."""


def verdict_words(status: ModelRolloutStatus) -> str:
    """What the verdict rests on, without its name again."""
    evidence = status.evidence
    return evidence.words.removeprefix(f"{evidence.verdict}: ") or "nothing was said yet"


def stale(wish: Wish, then: Seen, now: Seen) -> str | None:
    """Why a wish that was made on an older page is not written; None: it is."""
    if then.run != now.run:
        return (
            f"Nothing was changed: the page you decided on showed run {then.run or 'none'}, the present run is "
            f"{now.run or 'none'}. What is shown below is the present state."
        )
    if wish.name == "acknowledge" and then.alarm != now.alarm:
        return (
            f"Nothing was changed: the page you decided on showed alarm {then.alarm or 'none'}, open is "
            f"{now.alarm or 'none'}. What is shown below is the present state."
        )
    if not wish.urgent and then.generation != now.generation:
        return (
            f"Nothing was changed: somebody else has changed the rollout since (generation {then.generation} on your "
            f"page, {now.generation} now). What is shown below is the present state."
        )
    return None


def weight_of(text: str | None, most: int) -> int:
    """A weight as it was typed. Raises UserError."""
    typed = (text or "").strip()
    if not (typed.isascii() and typed.isdigit() and len(typed) <= 3 and int(typed) <= 100):
        raise UserError(f"weight {typed[:20]!r}: a whole number of percent from 0 to {most} is needed")
    if int(typed) > most:
        raise UserError(f"weight {int(typed)}: maxWeight is {most}")
    return int(typed)


def _ended(sight: Sight) -> str | None:
    if sight.deleted:
        return "the rollout is being deleted"
    return f"the run has ended ({sight.status.phase})" if sight.status.phase in TERMINAL else None


def _unfit_pause(sight: Sight) -> str | None:
    return _ended(sight) or ("it is paused already" if sight.spec.paused else None)


def _unfit_resume(sight: Sight) -> str | None:
    return _ended(sight) or (None if sight.spec.paused else "it is not paused")


def _unfit_weight(sight: Sight) -> str | None:
    if sight.status.phase not in MOVING or sight.status.run is None:
        return _ended(sight) or f"a weight can be set while the ramp goes on or is paused, not in {sight.status.phase}"
    return _ended(sight)


def _unfit_ramp(sight: Sight) -> str | None:
    return _ended(sight) or (None if sight.override else "no weight was set by a person")


def _unfit_promote(sight: Sight) -> str | None:
    if sight.over or sight.status.run is None:
        return _ended(sight) or "there is no run yet"
    if sight.spec.promote == sight.status.run.id:
        return "promotion of this run is asked for already"
    if sight.status.phase not in {*MOVING, "Validating"}:
        return f"the rollout is {sight.status.phase} already"
    return None


def _unfit_withdraw(sight: Sight) -> str | None:
    return _ended(sight) or (None if sight.promotion_waits else "no promotion waits")


def _unfit_abort(sight: Sight) -> str | None:
    if sight.over:
        return _ended(sight)
    if sight.spec.abort:
        return "abort is asked for already"
    return "it rolls back already" if sight.status.phase == "RollingBack" else None


def _unfit_acknowledge(sight: Sight) -> str | None:
    return _ended(sight) or (None if sight.seen.alarm else "no sample ratio alarm is open")


def _pause(sight: Sight, _: int | None) -> tuple[str, ...]:
    return (
        f"The candidate stays at {sight.status.weight} % until somebody resumes.",
        "Guardrails and a shown harm still take it to 0 %, and evidence is still gathered.",
        "The run's deadline goes on, and counts when the ramp is resumed.",
    )


def _resume(sight: Sight, _: int | None) -> tuple[str, ...]:
    if sight.promotion_waits:
        return (
            "A promotion was asked for, and goes on: all traffic goes to the candidate as soon as nothing is missing, "
            "blind or alarmed, whatever the verdict.",
        )
    return (f"The ramp goes on from {sight.status.weight} %, as soon as its steps allow.",)


def _weigh(sight: Sight, weight: int | None) -> tuple[str, ...]:
    if weight is None:
        return ("The candidate gets the weight that you name, and the ramp stands still until it is given back.",)
    now = sight.status.weight
    how = "more users see the candidate" if weight > now else "users go back to the baseline" if weight < now else ""
    found = [f"The candidate goes from {now} % to {weight} %{': ' + how if how else ''}."]
    if weight > now:
        found.append("It rises as soon as the candidate has the replicas for it and no guardrail is broken.")
    found.append("The ramp stands still until the weight is given back to it. A new weight begins a new phase.")
    return tuple(found)


def _ramp(sight: Sight, _: int | None) -> tuple[str, ...]:
    return (
        f"The weight of {sight.status.weight} % that a person set is lifted.",
        "The candidate gets at most the weight of its step again, and the ramp goes on.",
    )


def _promote(sight: Sight, _: int | None) -> tuple[str, ...]:
    status, spec = sight.status, sight.spec
    found = [f"All traffic goes from {status.weight} % to 100 % on the candidate, without waiting for a win."]
    if status.evidence.verdict != "Win":
        found.append(f"The verdict now is {status.evidence.verdict}: {verdict_words(status)}")
    found.append(
        f"After {spec.promotion.bake_seconds} s at 100 % under guard the rollout has succeeded; "
        "a broken guardrail still rolls it back until then."
    )
    if spec.paused:
        found.append("The rollout is paused: it is promoted when it is resumed.")
    found.append("It waits while a measure is missing, blind or alarmed; until it begins it can be withdrawn.")
    if sight.seen.alarm:
        found.append("A sample ratio alarm is open: nothing is promoted before it is acknowledged.")
    if spec.max_weight < 100:
        found.append(f"maxWeight is {spec.max_weight}: there is no promotion below 100.")
    return tuple(found)


def _withdraw(sight: Sight, _: int | None) -> tuple[str, ...]:
    return ("The promotion that was asked for does not happen; the ramp goes on as before.",)


def _abort(sight: Sight, _: int | None) -> tuple[str, ...]:
    router = sight.status.observed_weight
    return (
        f"The candidate goes from {sight.status.weight if router is None else router} % to 0 % in one write, "
        "within seconds, and stays there.",
        "Every user is on the baseline again. This run cannot be taken up again: the same pair needs a new attempt.",
    )


def _acknowledge(sight: Sight, _: int | None) -> tuple[str, ...]:
    alarm = sight.status.alarm
    told = f"p = {alarm.p_value:.2g}" if alarm is not None else "no alarm is open"
    return (
        f"You say that the broken sample ratio ({told}) has been looked at: users were not split as the weights say, "
        "so that the arms may not be comparable.",
        "The ramp may go on and promote again. A new alarm is raised once the evidence has grown by as much again.",
    )


_WISHES = (
    Wish("pause", "Pause", "Pause the ramp?", _unfit_pause, _pause, lambda s, _, __: steering.paused(s, True), True),
    Wish("resume", "Resume", "Let the ramp go on?", _unfit_resume, _resume, lambda s, _, __: steering.paused(s, False)),
    Wish(
        "weight",
        "Set weight",
        "Set the candidate's weight?",
        _unfit_weight,
        _weigh,
        steering.weighted,
        weighs=True,
    ),
    Wish(
        "ramp",
        "Give weight back",
        "Give the weight back to the ramp?",
        _unfit_ramp,
        _ramp,
        lambda spec, status, _: steering.weighted(spec, status, None),
    ),
    Wish(
        "promote",
        "Promote",
        "Promote the candidate now?",
        _unfit_promote,
        _promote,
        lambda spec, status, _: steering.promoted(spec, status),
        danger=True,
    ),
    Wish(
        "withdraw",
        "Withdraw promotion",
        "Withdraw the promotion that waits?",
        _unfit_withdraw,
        _withdraw,
        lambda spec, status, _: steering.withdrawn(spec, status),
        urgent=True,
    ),
    Wish(
        "acknowledge",
        "Acknowledge",
        "Acknowledge the sample ratio alarm?",
        _unfit_acknowledge,
        _acknowledge,
        lambda spec, status, _: steering.acknowledged(spec, status),
    ),
    Wish(
        "abort",
        "Abort",
        "Abort and send everybody back to the baseline?",
        _unfit_abort,
        _abort,
        lambda spec, _, __: steering.aborted(spec),
        urgent=True,
        danger=True,
    ),
)
WISHES: Mapping[str, Wish] = {wish.name: wish for wish in _WISHES}
"""In the order of their buttons."""


def offers(sight: Sight) -> tuple[tuple[Wish, str | None], ...]:
    """Every wish, with the reason why not now. Of a pair that excludes itself only the one that fits is offered."""
    hidden = {"pause" if sight.spec.paused else "resume"}
    hidden |= set() if sight.override else {"ramp"}
    hidden |= {"promote"} if sight.promotion_waits else {"withdraw"}
    hidden |= set() if sight.seen.alarm else {"acknowledge"}
    return tuple((wish, wish.unfit(sight)) for wish in WISHES.values() if wish.name not in hidden)
