"""Guards of what changes the ramp without ending it: sample ratio, cap, pause, a weight set by a person."""

from __future__ import annotations

from collections.abc import Mapping

from serving.rollout.state import Alarm
from serving.rollout.view import View


def ratio_broken(view: View) -> str | None:
    p_value = view.readings.sample_ratio_p
    if view.alarm_is_open or not view.of_this_run or p_value is None or not p_value < view.alarm_limit:
        return None
    return f"sample ratio p = {p_value:.3g}, below {view.alarm_limit:.3g}: no rise until acknowledged"


def raise_alarm(view: View) -> Mapping[str, object]:
    run, p_value = view.state.run, view.readings.sample_ratio_p
    assert run is not None  # noqa: S101  # the guard saw both
    assert p_value is not None  # noqa: S101
    return {"alarm": Alarm(id=f"{run.id}-alarm-{view.state.seq + 1}", p_value=p_value, raised_at=view.now)}


def acknowledged(view: View) -> str | None:
    alarm = view.state.alarm
    if alarm is None or alarm.acknowledged or view.spec.acknowledge != alarm.id:
        return None
    return f"sample ratio alarm {alarm.id} (p = {alarm.p_value:.3g}) acknowledged by a person"


def acknowledge(view: View) -> Mapping[str, object]:
    assert view.state.alarm is not None  # noqa: S101  # the guard saw it
    return {"alarm": view.state.alarm.model_copy(update={"acknowledged": True})}


def capped(view: View) -> str | None:
    if view.state.weight <= view.spec.max_weight:
        return None
    return f"maxWeight is now {view.spec.max_weight}: {view.state.weight} % falls to it"


def to_cap(view: View) -> Mapping[str, object]:
    return {"weight": view.spec.max_weight}


def paused(view: View) -> str | None:
    return f"paused by a person; the weight stays at {view.state.weight} %" if view.spec.paused else None


def resumed(view: View) -> str | None:
    return f"resumed by a person at {view.state.weight} %" if not view.spec.paused else None


def overridden(view: View) -> str | None:
    weight = view.override
    if weight is None or (weight == view.state.weight and view.state.overridden):
        return None
    if weight > view.state.weight and (view.breaches or not view.ready("candidate", weight)):
        return None
    return f"weight set from {view.state.weight} to {weight} by a person"


def to_override(view: View) -> Mapping[str, object]:
    return {"weight": view.override, "overridden": True}


def lifted(view: View) -> str | None:
    if not view.state.overridden or view.override is not None:
        return None
    return f"the weight set by a person is lifted: the step allows {view.step_limit} %"


def to_step(view: View) -> Mapping[str, object]:
    return {"weight": min(view.state.weight, view.step_limit), "overridden": False}


def restored(view: View) -> str | None:
    limit = view.step_limit
    if view.state.weight >= limit or view.obstacles or not view.ready("candidate", limit):
        return None
    return f"weight goes from {view.state.weight} back to the step's {limit} %"


def at_step(view: View) -> Mapping[str, object]:
    return {"weight": view.step_limit}
