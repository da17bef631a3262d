"""One look at one rollout: read the world, decide, write in the decision's order. The same loop runs everywhere.

Nothing is remembered between two calls but the clock, so that a crash between any two writes leaves a world from which
the next call goes on. A write that fails ends the call; the next one reads everything anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import ValidationError

from model.errors import Fault
from serving.rollout.actions import Announce, Decision, Persist, Release, Scale, SetWeights
from serving.rollout.decide import decide
from serving.rollout.driver import Driver, Observation
from serving.rollout.facts import Clock, Facts
from serving.rollout.fence import Fence, LostLeadershipError
from serving.rollout.measures import Measures, Models
from serving.rollout.report import report
from serving.rollout.spec import ModelRolloutSpec
from serving.rollout.state import TERMINAL, UNDER_TRAFFIC
from serving.rollout.status import ModelRolloutStatus
from serving.rollout.store import ConflictError, Key, Store, Stored
from serving.rollout.view import View

log = logging.getLogger(__name__)

LOOKS_AT_ONCE = 8
REPORT_S = 30.0
"""A report in which nothing but numbers moved is written at most this often."""

Outcome = Literal["gone", "released", "settled", "ended", "again", "conflict", "fault"]


@dataclass(frozen=True)
class Edges:
    """Everything outside, for one rollout."""

    driver: Driver
    measures: Measures
    models: Models


@dataclass(frozen=True)
class Reconciler:
    """Store, fence and the way to a rollout's edges."""

    store: Store
    fence: Fence
    edges: Callable[[Stored, ModelRolloutSpec], Edges]
    clock: Callable[[Key], Clock]

    async def reconcile(self, key: Key) -> Outcome:
        """Decide and write until nothing moves.

        "conflict" and "fault": call again soon. "ended": over, and nothing amiss. "again": something was written just
        now, look once more. Raises LostLeadershipError.
        """
        outcome: Outcome = "settled"
        for _ in range(LOOKS_AT_ONCE):
            try:
                outcome = await self._once(key)
            except ConflictError as error:
                log.info("%s: %s", key, error)
                return "conflict"
            except LostLeadershipError:
                raise
            except Fault as error:
                log.warning("%s: %s", key, error)
                return "fault"
            if outcome != "again":
                break
        return outcome

    async def _once(self, key: Key) -> Outcome:
        read = await self.store.get(key)
        if read is None:
            return "gone"
        if not read.held:
            if read.deleted_at is not None:
                return "released"
            self.fence.check()
            read = await self.store.hold(read)
        try:
            spec = ModelRolloutSpec.model_validate(read.spec)
            before = ModelRolloutStatus.model_validate(read.status or {})
        except ValidationError as error:
            return await self._unreadable(read, error)
        return await _Look(self, read, spec, before, self.edges(read, spec)).act()

    async def _unreadable(self, read: Stored, error: ValidationError) -> Outcome:
        """A spec that no API server of ours has checked: nothing is touched, but deletion goes on."""
        first = error.errors()[0]
        log.error("%s: %s: %s", read.key, ".".join(map(str, first["loc"])), first["msg"])
        if read.deleted_at is None:
            return "fault"
        self.fence.check()
        await self.store.release(read)
        return "released"


class _Look:
    """One decision about one rollout, and its writes."""

    def __init__(
        self, loop: Reconciler, read: Stored, spec: ModelRolloutSpec, before: ModelRolloutStatus, edges: Edges
    ) -> None:
        self._loop = loop
        self._read = read
        self._spec = spec
        self._before = before
        self._edges = edges

    async def act(self) -> Outcome:
        state = self._before.state()
        readings = await self._edges.measures.read(self._spec, state)
        facts = await self._facts()
        clock = self._loop.clock(self._read.key)
        decision = decide(self._spec, state, readings, facts, clock)
        view = View(self._spec, decision.state, readings, facts, clock)
        released = await self._carry_out(decision, view)
        if released:
            return "released"
        if decision.state.phase in UNDER_TRAFFIC | {"Validating"}:
            self._loop.fence.check()
            await self._edges.measures.begin(self._spec, decision.state)
        await self._report(decision, view)
        if decision.actions:
            return "again"
        return "ended" if decision.state.phase in TERMINAL and not facts.problems else "settled"

    async def _facts(self) -> Facts:
        try:
            seen = await self._edges.driver.observe()
        except Fault as error:
            seen = Observation(problems=(str(error),))
        return Facts(
            baseline=seen.baseline,
            candidate=seen.candidate,
            router=seen.router,
            baseline_digest=await self._edges.models.digest(self._spec.baseline),
            candidate_digest=await self._edges.models.digest(self._spec.candidate),
            problems=seen.problems,
            deleted_at=self._read.deleted_at,
        )

    async def _carry_out(self, decision: Decision, view: View) -> bool:
        """The actions in their order; True: the rollout was let go.

        A router that cannot be written does not keep a rollback out of the status.
        """
        failed: Fault | None = None
        for action in decision.actions:
            self._loop.fence.check()
            match action:
                case SetWeights():
                    try:
                        await self._set_weights(action, view)
                    except Fault as error:
                        if decision.state.phase != "RollingBack":
                            raise
                        failed = error
                case Persist(state=state):
                    await self._write(report_of(replace(view, state=state), decision, self._read, self._edges.driver))
                case Announce(transition=transition, warning=warning):
                    log.log(
                        logging.WARNING if warning else logging.INFO,
                        *("%s: %s -> %s at %d %%: %s: %s", self._read.key, transition.origin, transition.target),
                        *(transition.weight, transition.reason, transition.message),
                    )
                    await self._loop.store.announce(self._read, transition, warning)
                case Scale():
                    await self._edges.driver.scale(action)
                case Release():
                    await self._loop.store.release(self._read)
                    return True
        if failed is not None:
            raise failed
        return False

    async def _set_weights(self, action: SetWeights, view: View) -> None:
        """A rise is registered with the evidence first: no unit may come before its stratum is known. A fall waits for
        nothing."""
        if action.candidate > (view.facts.router.weight or 0):
            await self._edges.measures.begin(self._spec, view.state)
            self._loop.fence.check()
        await self._edges.driver.set_weights(action)

    async def _write(self, status: ModelRolloutStatus) -> None:
        self._read = await self._loop.store.write_status(self._read, status.to_json())
        self._before = status

    async def _report(self, decision: Decision, view: View) -> None:
        """The rest of the status, when it says something new or has grown old."""
        status = report_of(view, decision, self._read, self._edges.driver)
        old, new = self._before.evidence.as_of, status.evidence.as_of
        aged = new is not None and (old is None or new - old >= REPORT_S)
        if aged or _told(status) != _told(self._before):
            self._loop.fence.check()
            await self._write(status)


def report_of(view: View, decision: Decision, read: Stored, driver: Driver) -> ModelRolloutStatus:
    """The status after a decision, on the conditions that were read."""
    conditions = ModelRolloutStatus.model_validate(read.status or {}).conditions
    return report(view, decision.hold, read.generation, driver.assignment, conditions)


def _told(status: ModelRolloutStatus) -> object:
    """What of a status is news: all but the numbers that move with every look."""
    conditions = tuple((each.type, each.status, each.reason) for each in status.conditions)
    guardrails = tuple((each.name, each.state) for each in status.guardrails)
    return (
        status.observed_generation,
        status.observed_weight,
        status.evidence.verdict,
        status.steering,
        status.baseline,
        status.candidate,
        conditions,
        guardrails,
    )
