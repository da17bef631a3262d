"""decide(): the one place where a rollout changes its mind. Pure: no clock, no network, no randomness.

One call makes at most one transition. The caller carries the actions out in their order, reads the world again and asks
again.
"""

from __future__ import annotations

from serving.gateway.assignment import Arm
from serving.rollout.actions import Action, Announce, Decision, Persist, Release, Scale, SetWeights
from serving.rollout.facts import Clock, Facts
from serving.rollout.guards_rise import not_promotable, promotion_waits, unresolved, unvalidated
from serving.rollout.readings import Readings
from serving.rollout.spec import ModelRolloutSpec, RunId
from serving.rollout.state import HISTORY, TERMINAL, UNDER_TRAFFIC, Phase, State, Transition
from serving.rollout.table import TABLE, Rule
from serving.rollout.view import View

DELETION_LIMIT_S = 120.0
"""A resource is let go after this, whatever the router says: deletion cannot hang."""
_MESSAGE = 1024


def decide(spec: ModelRolloutSpec, state: State, readings: Readings, facts: Facts, clock: Clock) -> Decision:
    """The next state, and the writes that lead to it, in their order.

    A rollback writes the router first: if anything fails afterwards, the candidate is at 0 already. Everything else
    writes the status first, on the version of the resource that was read: a person's change in between stops it.
    """
    view = View(spec, _refreshed(spec, state, readings, facts, clock), readings, facts, clock)
    rule, message = _first_that_applies(view)
    after = view.state if rule is None else _entered(view, rule, message)
    seen = View(spec, after, readings, facts, clock)
    announced = after.model_copy(update={"announced": after.seq})
    weights = _weights(seen)
    events = [Announce(each, _is_warning(each)) for each in after.history if each.seq > after.announced]
    persist: list[Action] = [Persist(after)] if after != state else []
    emergency = weights is not None and after.phase == "RollingBack"
    writes: list[Action] = [weights] if weights is not None else []
    actions: list[Action] = [*writes, *persist] if emergency else [*persist, *writes]
    actions += [*events, *([Persist(announced)] if events else []), *_scales(seen), *_release(seen)]
    return Decision(state=announced if events else after, actions=tuple(actions), hold=_hold(seen))


def _first_that_applies(view: View) -> tuple[Rule | None, str]:
    for rule in TABLE:
        if view.state.phase in rule.sources:
            message = rule.guard(view)
            if message is not None:
                return rule, message
    return None, ""


def _is_warning(transition: Transition) -> bool:
    return any(rule.warning for rule in TABLE if rule.reason == transition.reason)


def _refreshed(spec: ModelRolloutSpec, state: State, readings: Readings, facts: Facts, clock: Clock) -> State:
    """The state with its timers set by what is seen now.

    A jump of the clock that this process noticed moves all timers along. One that nobody noticed can only have set the
    clock back behind them: then they begin again.
    """

    def moved(moment: float | None) -> float | None:
        return None if moment is None else min(moment + clock.jumped, clock.now)

    run = state.run and state.run.model_copy(update={"started_at": moved(state.run.started_at)})
    entered = moved(state.entered_at)
    state = state.model_copy(
        update={
            "run": run,
            "entered_at": clock.now if entered is None else entered,
            "confirmed_at": moved(state.confirmed_at),
            "blind_since": moved(state.blind_since),
        }
    )
    if _is_overtaken(state, facts):
        # Somebody wrote weights past us: ours are written again, under a number that the router takes.
        state = state.model_copy(update={"stratum": (facts.router.stratum or 0) + 1, "confirmed_at": None})
    view = View(spec, state, readings, facts, clock)
    blind = state.phase in UNDER_TRAFFIC and bool(view.blind)
    confirmed = (
        (clock.now if state.confirmed_at is None else state.confirmed_at) if view.settled else state.confirmed_at
    )
    since = (clock.now if state.blind_since is None else state.blind_since) if blind else None
    return state.model_copy(update={"confirmed_at": confirmed, "blind_since": since})


def _is_overtaken(state: State, facts: Facts) -> bool:
    """Whether the router has a later stratum, so that it would refuse ours: one that is no rollout's, or that of a
    rollback that two operators began at once, of which one could keep its status."""
    router = facts.router
    if state.run is None or state.phase in TERMINAL:
        return False
    twice = router.owner == "self" and state.phase == "RollingBack"
    return (router.owner == "nobody" or twice) and (router.stratum or 0) > state.stratum


def _entered(view: View, rule: Rule, message: str) -> State:
    """The state after a rule, with its line in the history."""
    before = view.state
    changes = dict(rule.changes(view))
    target = rule.target or before.phase
    if rule.reason == "RolledBack" and before.ending is not None:
        target = before.ending
    weight = changes.get("weight", before.weight)
    moved = rule.target is not None or "step" in changes or weight != before.weight
    if weight != before.weight and "stratum" not in changes:
        changes["stratum"] = max(before.stratum, view.facts.router.stratum or 0) + 1
    if weight != before.weight or "stratum" in changes:
        changes["confirmed_at"] = None
    if moved:
        changes["entered_at"] = view.now
    if target not in UNDER_TRAFFIC:
        changes["blind_since"] = None
    after = before.model_copy(
        update={
            **changes,
            "given_up": _given_up(view, target),
            "phase": target,
            "reason": rule.reason,
            "message": message[:_MESSAGE],
            "seq": before.seq + 1,
        }
    )
    line = Transition(
        seq=after.seq,
        at=view.now,
        origin=before.phase,
        target=after.phase,
        step=after.step,
        weight=after.weight,
        reason=rule.reason,
        message=after.message,
    )
    return after.model_copy(update={"history": (*before.history, line)[-HISTORY:]})


def _given_up(view: View, target: Phase) -> tuple[RunId, ...]:
    """The runs that may not begin again, after a rule that leads to `target`."""
    before = view.state
    # A router at 0 and ahead of the status: the run's rollback was cut short after its first write.
    cut_short = view.router_is_ahead and view.facts.router.weight == 0
    if before.run is None or not (target == "RollingBack" or cut_short):
        return before.given_up
    return (*(each for each in before.given_up if each != before.run.id), before.run.id)[-HISTORY:]


def _weights(view: View) -> SetWeights | None:
    """The write that brings the router to the state, unless it has it or may not have it now."""
    state = view.state
    if state.run is None or view.settled or view.router_is_ahead or not _is_ours(view) or not _is_safe(view):
        return None
    return SetWeights(candidate=state.weight, stratum=state.stratum, run=state.run.id)


def _is_ours(view: View) -> bool:
    """A finished rollout writes only into a router that still has its weights, an unfinished one not into another's."""
    owner = view.facts.router.owner
    return owner == "self" or (owner == "nobody" and view.state.phase not in TERMINAL)


def _is_safe(view: View) -> bool:
    """No rise without the replicas for it, no fall onto a dead baseline unless a person asked for it, no first write
    that takes a promoted model out before its traffic has somewhere to go."""
    state, seen = view.state, view.facts.router.weight
    if view.in_production is not None:
        return False
    if seen is None:  # a rollback is tried blindly, where the candidate had traffic; nothing else is
        return state.phase == "RollingBack" and view.had_traffic
    if state.weight > seen:
        within_cap = state.weight <= view.spec.max_weight or state.phase in TERMINAL
        return within_cap and view.ready("candidate", state.weight)
    return not (state.weight < seen and view.baseline_is_dead) or state.reason == "Aborted"


def _scales(view: View) -> list[Action]:
    """The arms' least numbers of replicas, where they are ours to set and not as they should be.

    An arm is cut only when the router was read back with the weights that make it idle.
    """
    if not view.spec.capacity.manage or view.state.run is None or view.facts.router.owner == "other":
        return []
    found: list[Action] = []
    for arm, floor in _floors(view).items():
        present, least = view.facts.arm(arm).floor, max(floor, view.facts.arm(arm).lowest)
        if present is not None and (least > present or (least < present and view.settled)):
            found.append(Scale(arm, least))
    return found


def _floors(view: View) -> dict[Arm, int]:
    """Replicas that each arm is to have at least; an arm that is not named is left as it is."""
    state, capacity = view.state, view.spec.capacity
    full = capacity.replicas
    drained = view.settled and view.since(state.confirmed_at) >= capacity.drain_seconds
    if state.phase == "Succeeded":
        safe = drained and state.weight == 100 and view.ready("candidate", 100)
        return {"candidate": full, "baseline": capacity.idle_replicas} if safe else {"candidate": full}
    if state.phase in {"RollingBack", "RolledBack", "Failed"}:
        safe = state.phase != "RollingBack" and drained and view.ready("baseline", 100)
        return {"baseline": full, "candidate": capacity.idle_replicas} if safe else {"baseline": full}
    if state.phase == "Promoting":
        return {"baseline": full, "candidate": full}
    ahead = max(state.weight, view.step_limit, view.override or 0)
    if state.phase != "Validating":
        ahead = max(ahead, view.next_limit)
    return {"baseline": full, "candidate": view.need(ahead)}


def _release(view: View) -> list[Action]:
    """Deletion is allowed when nothing of the rollout is left in the router, and in any case after a while."""
    if view.facts.deleted_at is None:
        return []
    # By two clocks: the API server's may be far from this one.
    waited = view.since(view.facts.deleted_at)
    if view.state.reason == "Deleted":
        waited = max(waited, view.since(view.state.entered_at))
    over = view.state.phase in TERMINAL | {"Pending"}
    return [Release()] if over or waited >= DELETION_LIMIT_S else []


def _hold(view: View) -> str | None:
    """Why nothing moves, for the Progressing condition."""
    state = view.state
    if state.phase == "Pending":
        return "; ".join(unresolved(view)) or None
    if state.phase == "Validating":
        return "; ".join(unvalidated(view)) or None
    if state.phase == "Promoting":
        return "; ".join(not_promotable(view)) or None
    if state.phase not in {"Ramping", "Paused"}:
        return None
    if promotion_waits(view):
        return f"the promotion that a person asked for waits: {'; '.join(not_promotable(view))}"
    found = [*view.obstacles, *view.dwell]
    target = 100 if view.on_last_step else view.next_limit
    if not view.on_last_step and view.next_limit <= state.weight:
        found.append(f"maxWeight {view.spec.max_weight} allows no further step")
    elif not view.ready("candidate", target):
        found.append(view.unready("candidate", target))
    if view.on_last_step and not found:
        found.append(f"no win yet: {view.readings.words}" if not view.won else "promotion waits for a person")
    return "; ".join(found) or None
