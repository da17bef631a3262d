"""Guards of the rises: the first traffic, steps, promotion, success. Each lists what stands against it."""

from __future__ import annotations

from collections.abc import Mapping

from serving.rollout.view import View


def unresolved(view: View) -> tuple[str, ...]:
    """What stands against the beginning of a run."""
    found = []
    if view.facts.baseline_digest is None:
        found.append("the baseline cannot be resolved")
    if view.facts.candidate_digest is None:
        found.append("the candidate cannot be resolved")
    if view.facts.baseline_digest is not None and view.facts.baseline_digest == view.facts.candidate_digest:
        found.append(f"baseline and candidate are the same model {view.facts.baseline_digest[:12]}")
    return (*found, *view.facts.problems)


def unvalidated(view: View) -> tuple[str, ...]:
    """What stands against the first traffic."""
    first = min(view.spec.steps[0].weight, view.spec.max_weight)
    found = [*view.facts.problems]
    run = view.state.run
    if run is not None and run.id in view.state.given_up:
        found.append(f"run {run.id} was rolled back before: another `attempt` tries this pair again")
    if not view.ready("baseline", 100):
        found.append(view.unready("baseline", 100))
    if not view.ready("candidate", first):
        found.append(view.unready("candidate", first))
    if view.spec.paused:
        found.append("paused")
    if not view.settled:
        found.append(view.in_production or f"the router has {view.facts.router.weight} %, not yet 0 %")
    # A candidate without traffic has no values yet: here a guardrail need only be askable.
    blind = [reason for reason in view.blind if reason not in view.blind_guardrails]
    for guardrail in view.spec.guardrails:
        reading = view.readings.guardrail(guardrail.name)
        if reading is None or reading.problem is not None:
            blind.append(f"guardrail {guardrail.name}: {reading.problem if reading else 'missing'}")
    return tuple(dict.fromkeys([*found, *blind]))


def started(view: View) -> str | None:
    if unvalidated(view):
        return None
    return (
        f"both arms are ready and every measure can be read: the candidate gets "
        f"{min(view.spec.steps[0].weight, view.spec.max_weight)} %"
    )


def first_step(view: View) -> Mapping[str, object]:
    assert view.state.run is not None  # noqa: S101  # Validating has a run
    run = view.state.run.model_copy(update={"started_at": view.now})
    return {"run": run, "step": 0, "weight": min(view.spec.steps[0].weight, view.spec.max_weight)}


def not_promotable(view: View) -> tuple[str, ...]:
    """What stands against any promotion, a person's too."""
    found = [*view.obstacles]
    if view.spec.max_weight < 100:
        found.append(f"maxWeight is {view.spec.max_weight}, and promotion needs 100")
    return tuple(found)


def promotion_waits(view: View) -> bool:
    """Whether a person asked for the promotion of this run, and something stands against it."""
    run = view.state.run
    return run is not None and view.spec.promote == run.id and bool(not_promotable(view))


def promoted_by_person(view: View) -> str | None:
    run = view.state.run
    if run is None or view.spec.promote != run.id or not_promotable(view):
        return None
    return f"promotion of {run.id} asked for by a person at {view.state.weight} %: {view.readings.words}"


def proven(view: View) -> str | None:
    if view.spec.promotion.mode != "Auto" or not view.on_last_step or view.dwell or not_promotable(view):
        return None
    return f"win at {view.state.weight} %: {view.readings.words}" if view.won else None


def full_weight(view: View) -> str | None:
    if view.state.weight == 100 or not_promotable(view) or not view.ready("candidate", 100):
        return None
    return f"the candidate is ready for all traffic: weight goes from {view.state.weight} to 100"


def to_full(_: View) -> Mapping[str, object]:
    return {"weight": 100}


def baked(view: View) -> str | None:
    seconds = view.since(view.state.confirmed_at)
    if view.state.weight != 100 or view.state.confirmed_at is None or seconds < view.spec.promotion.bake_seconds:
        return None
    if not_promotable(view) or not view.ready("candidate", 100):
        return None
    return f"{seconds:.0f} s at 100 % under guard: the candidate is the model in production"


def stepped(view: View) -> str | None:
    limit = view.next_limit
    if view.on_last_step or view.obstacles or view.dwell or view.harmed or limit <= view.state.weight:
        return None
    if not view.ready("candidate", limit):
        return None
    return (
        f"{view.state.weight} % -> {limit} % after {view.since(view.state.confirmed_at):.0f} s and {view.units} units "
        f"in the smaller arm: {view.readings.words}"
    )


def next_step(view: View) -> Mapping[str, object]:
    return {"step": view.state.step + 1, "weight": view.next_limit}
