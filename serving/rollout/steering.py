"""What a person can wish, as changes of the spec. The same fields serve `kubectl patch`. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from model.errors import UserError
from serving.rollout.state import TERMINAL
from serving.rollout.status import ModelRolloutStatus

Spec = dict[str, Any]


STEERING = ("paused", "abort", "promote", "acknowledge", "weightOverride", "attempt")
"""Fields that a person sets beside the file. Applying a file that does not name them leaves them as they are, as
server-side apply does."""


_OF_A_RUN = ("promote", "acknowledge", "weightOverride")
"""Of these, the ones that name the run, or the alarm of the run, that they are for."""


def applied(spec: Spec, file: Spec) -> Spec:
    """The spec after a file was applied to it. One that begins another run drops what was for the run before."""
    kept = {name: spec[name] for name in STEERING if name in spec and name not in file}
    new = {**file, **kept}
    if _models(spec) != _models(new):
        return {name: value for name, value in new.items() if name in file or name not in _OF_A_RUN}
    return new


def _models(spec: Spec) -> tuple[object, ...]:
    return spec.get("baseline"), spec.get("candidate"), spec.get("attempt", 1)


def paused(spec: Spec, wish: bool) -> Spec:
    """Hold the weight, or let the ramp go on."""
    return {**spec, "paused": wish}


def aborted(spec: Spec) -> Spec:
    """Candidate to 0 at once, for good."""
    return {**spec, "abort": True}


def weighted(spec: Spec, status: ModelRolloutStatus, weight: int | None) -> Spec:
    """A weight of a person's own for the present run; None: the ramp's again. Raises UserError without a run."""
    rest = {name: value for name, value in spec.items() if name != "weightOverride"}
    return rest if weight is None else {**rest, "weightOverride": {"weight": weight, "run": _run(status)}}


def require_going_on(status: ModelRolloutStatus, wish: str) -> None:
    """Raises UserError where the run is over and `wish` would change nothing in it."""
    if status.phase in TERMINAL:
        run = status.run.id if status.run else "none"
        raise UserError(
            f"{wish} comes too late: run {run} has ended ({status.phase}); another `attempt`, or another model, begins "
            "a new run"
        )


def withdrawn(spec: Spec, status: ModelRolloutStatus) -> Spec:
    """The promotion that was asked for is not to be. Raises UserError where none was, or where it has begun."""
    if "promote" not in spec:
        raise UserError("no promotion was asked for; there is nothing to withdraw")
    if status.phase == "Promoting" and spec["promote"] == _run(status):
        raise UserError("the promotion has begun; set a weight, or abort")
    return {name: value for name, value in spec.items() if name != "promote"}


def promoted(spec: Spec, status: ModelRolloutStatus) -> Spec:
    """The present run is to be promoted. Raises UserError where there is none."""
    return {**spec, "promote": _run(status)}


def acknowledged(spec: Spec, status: ModelRolloutStatus) -> Spec:
    """The open sample ratio alarm has been looked at. Raises UserError where none is open."""
    alarm = status.alarm
    if alarm is None or alarm.acknowledged:
        raise UserError("no sample ratio alarm is open; there is nothing to acknowledge")
    return {**spec, "acknowledge": alarm.id}


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that differ, as `spec.field: old -> new`."""
    names = sorted({*old, *new})
    return tuple(
        f"spec.{name}: {_shown(old.get(name))} -> {_shown(new.get(name))}"
        for name in names
        if old.get(name) != new.get(name)
    )


def _shown(value: object) -> str:
    return "unset" if value is None else json.dumps(value)


def _run(status: ModelRolloutStatus) -> str:
    if status.run is None:
        raise UserError(f"the rollout has no run yet (phase {status.phase}); wait until it is Validating")
    return status.run.id
