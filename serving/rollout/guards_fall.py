"""Guards of the falls: deletion, another run, a person's abort, and everything that takes the candidate to 0."""

from __future__ import annotations

from collections.abc import Mapping

from serving.rollout.guards_rise import unresolved, unvalidated
from serving.rollout.state import Run
from serving.rollout.view import View


def to_zero(_: View) -> Mapping[str, object]:
    return {"weight": 0, "ending": "RolledBack", "overridden": False}


def to_failure(_: View) -> Mapping[str, object]:
    return {"weight": 0, "ending": "Failed", "overridden": False}


def deleted(view: View) -> str | None:
    if view.facts.deleted_at is None or view.state.reason == "Deleted":
        return None
    return f"the resource is being deleted: candidate from {view.state.weight} to 0 %"


def new_run(view: View) -> str | None:
    wanted = view.wanted_run
    if wanted is None or view.facts.deleted_at is not None:
        return None
    run = view.state.run
    if run is not None and run.id == wanted[0] and (run.baseline, run.candidate) == wanted[1:]:
        return None
    instead = "" if run is None else f", in place of {run.id}"
    return f"run {wanted[0]}: candidate {wanted[2][:12]} against baseline {wanted[1][:12]}{instead}; fresh evidence"


def begin(view: View) -> Mapping[str, object]:
    assert view.wanted_run is not None  # noqa: S101  # the guard saw it
    name, baseline, candidate = view.wanted_run
    run = Run(id=name, baseline=baseline, candidate=candidate, attempt=view.spec.attempt, started_at=view.now)
    return {
        "run": run,
        "step": 0,
        "weight": 0,
        "stratum": next_stratum(view),
        "blind_since": None,
        "overridden": False,
        "alarm": None,
        "ending": None,
    }


def next_stratum(view: View) -> int:
    return max(view.state.stratum, view.facts.router.stratum or 0) + 1


def aborted(view: View) -> str | None:
    return f"aborted by a person at {view.state.weight} %" if view.spec.abort else None


def router_ahead(view: View) -> str | None:
    router = view.facts.router
    if not view.router_is_ahead or router.weight != 0:
        return None  # only a rollback writes the router first, and it writes 0; anything else is an old status
    return (
        f"the router is at 0 % in stratum {router.stratum}, this status in stratum {view.state.stratum} at "
        f"{view.state.weight} %: a rollback was cut short after its first write and goes on"
    )


def breached(view: View) -> str | None:
    return "; ".join(view.breaches) or None


def harmed(view: View) -> str | None:
    return (view.readings.words or "harm is shown") if view.harmed else None


def candidate_lost(view: View) -> str | None:
    if view.state.weight == 0 or view.facts.candidate.ready != 0:
        return None
    return f"the candidate has no ready replica at {view.state.weight} %"


def wrong_model(view: View) -> str | None:
    serving = view.facts.candidate.serving
    if view.state.weight == 0 or not serving or serving == {view.digest("candidate")}:
        return None
    served = ", ".join(sorted(digest[:12] for digest in serving))
    return f"the candidate serves {served}, not {(view.digest('candidate') or '')[:12]}, at {view.state.weight} %"


def blind(view: View) -> str | None:
    seconds = view.since(view.state.blind_since)
    if not view.blind or view.spec.when_blind.action != "RollBack" or seconds < view.spec.when_blind.seconds:
        return None
    return f"blind for {seconds:.0f} s (limit {view.spec.when_blind.seconds} s): {'; '.join(view.blind)}"


def overdue(view: View) -> str | None:
    run = view.state.run
    seconds = view.since(run.started_at if run else None)
    if view.spec.on_deadline != "RollBack" or view.spec.paused or seconds < view.spec.deadline_seconds:
        return None
    return f"no decision after {seconds:.0f} s (deadline {view.spec.deadline_seconds} s): {view.readings.words}"


def invalid(view: View) -> str | None:
    seconds = view.since(view.state.entered_at)
    missing = unvalidated(view)
    if not missing or view.spec.paused or seconds < view.spec.validate_seconds:
        return None
    return f"not ready after {seconds:.0f} s (limit {view.spec.validate_seconds} s): {'; '.join(missing)}"


def never_resolved(view: View) -> str | None:
    seconds = view.since(view.state.entered_at)
    if view.wanted_run is not None or view.spec.paused or seconds < view.spec.validate_seconds:
        return None
    return f"models not resolved after {seconds:.0f} s: {'; '.join(unresolved(view))}"


def rolled_back(view: View) -> str | None:
    found = _taken_back(view)
    # Whoever reads the end alone is told what it came from.
    return None if found is None else "; ".join(filter(None, (view.state.message, found)))


def _taken_back(view: View) -> str | None:
    if view.facts.router.owner == "other":
        return f"the router belongs to another rollout, run {view.facts.router.run}: 0 % of this one is left in it"
    if view.in_production is not None:
        return f"nothing of this run is in the router: {view.in_production}"
    return "the router has 0 % for the candidate" if view.settled else None
