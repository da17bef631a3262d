"""The faults: each has a rollout of its own under users, and is over when that rollout has ended."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.faults.case import Case
from benchmarks.faults.disk import SmallDisk
from benchmarks.faults.finding import Breach, Finding
from benchmarks.faults.machine import ERRORS, REQUESTS, Machine
from model.errors import Fault
from serving.rollout import steering
from serving.stack.records import SUPERVISOR
from serving.traffic.fault_proxy import Faults

SLOW_S = 0.7
ENDED = 8
"""Rollouts of before, beside the one that a fault meets."""
_P99 = {"name": "p99-ms", "type": "P99", "max": 900, "minRequests": REQUESTS, "windowSeconds": 5}
"""Envoy counts latencies up to 500 and up to 1,000 ms, and the quantile lies on the line between: 995 for 700."""


def slow_candidate(case: Case) -> None:
    """Seven hundred milliseconds more in each answer of the candidate."""
    case.breach = Breach(0.01, REQUESTS, slow_s=SLOW_S)
    with case.machine.proxy() as proxy:
        case.begin(50, guardrails=[_P99])
        case.hurt()
        proxy.faults = Faults(latency_s=SLOW_S)
        case.falls()
        case.ends()


def erroring_candidate(case: Case) -> None:
    """Every answer of the candidate is a 500."""
    case.breach = Breach(ERRORS, REQUESTS)
    with case.machine.proxy() as proxy:
        case.begin(50)
        case.hurt()
        proxy.faults = Faults(error_share=1.0)
        case.falls()
        case.ends()


def candidate_killed(case: Case) -> None:
    """kill -9 of the candidate's only ranker."""
    case.begin(50)
    case.hurt()
    killed = case.machine.kill("ranker-candidate")
    case.falls()
    case.ends()
    case.back_s = case.machine.wait_back("ranker-candidate", killed)


def evidence_killed(case: Case) -> None:
    """kill -9 of the evidence service, twice, with outcomes on their way."""
    case.begin(20)
    case.hurt()
    case.restarted("evidence")
    time.sleep(1)
    case.restarted("evidence")
    case.promoted()


def candidate_hung(case: Case) -> None:
    """The candidate's only ranker stands still (SIGSTOP): it has no answer, and takes connections."""
    case.begin(50)
    case.hurt()
    with case.machine.stopped("ranker-candidate"):
        case.falls()
        case.ends()


def evidence_hung_under_errors(case: Case) -> None:
    """The evidence stands still (SIGSTOP), and then the candidate errs: guardrails need no evidence. Other rollouts,
    which have ended, wait for the evidence too."""
    for number in range(ENDED):
        case.machine.create(f"{case.name}-{number}", abort=True).wait("RolledBack")
    case.breach = Breach(ERRORS, REQUESTS)
    with case.machine.proxy() as proxy:
        case.begin(50)
        with case.machine.stopped("evidence"):
            time.sleep(3)
            case.hurt()
            proxy.faults = Faults(error_share=1.0)
            case.falls()
        case.ends()


def controller_killed_validating(case: Case) -> None:
    """The candidate stands still, so that nothing can begin; then the controller is killed."""
    with case.machine.stopped("ranker-candidate"):
        case.machine.wait(
            lambda: case.machine.live.hosts()["candidate"].healthy == 0, "a candidate that is not healthy"
        )
        case.create()
        case.rollout.wait("Validating")
        case.hurt()
        case.restarted("controller")
        case.require("Validating")
        case.held(0)
    case.come()
    case.promoted()


def controller_killed_ramping(case: Case) -> None:
    """In the first step; the ramp goes on."""
    case.begin(20)
    case.hurt()
    case.restarted("controller")
    case.promoted()


def controller_killed_under_errors(case: Case) -> None:
    """Killed at the moment at which the candidate begins to err: it is the next controller that sees it."""
    with case.machine.proxy() as proxy:
        case.begin(50)
        case.hurt()
        killed = case.machine.kill("controller")
        proxy.faults = Faults(error_share=1.0)
        case.falls()
        case.back_s = case.machine.wait_back("controller", killed)
        case.ends()


def controller_killed_paused(case: Case) -> None:
    """A person's pause is kept; then the person resumes."""
    case.begin(20)
    case.rollout.wish(lambda spec: steering.paused(spec, True))
    case.rollout.wait("Paused")
    weight = case.rollout.status.weight
    case.hurt()
    case.restarted("controller")
    case.held(weight)
    case.require("Paused")
    case.rollout.wish(lambda spec: steering.paused(spec, False))
    case.promoted()


def controller_killed_promoting(case: Case) -> None:
    """At full weight, before it has been there for long enough."""
    case.begin(50)
    case.rollout.wish(lambda spec: steering.promoted(spec, case.rollout.status))
    case.rollout.wait("Promoting")
    case.hurt()
    case.restarted("controller")
    case.rollout.wait("Succeeded")
    case.rollout.wait_weight(100)


def controller_killed_rolling_back(case: Case) -> None:
    """A person aborts; the controller dies once 0 is written, before the rollout's end is."""
    case.begin(50)
    case.hurt()
    case.rollout.wish(steering.aborted)
    folder = case.machine.live.folder
    case.machine.wait(lambda: folder.split().candidate_weight == 0, "weight 0 in the routes file", 0.001)
    killed = case.machine.kill("controller")
    if case.rollout.status.phase == "RolledBack":
        raise Fault(f"{case.name}: the rollback was over before the controller could be killed")
    case.falls()
    case.back_s = case.machine.wait_back("controller", killed)
    case.ends()


def supervisor_killed(case: Case) -> None:
    """Nothing ends with it; a breach is seen all the same; `mgoe up` takes over what runs."""
    case.breach = Breach(ERRORS, REQUESTS)
    with case.machine.proxy() as proxy:
        case.begin(50)
        before = case.machine.pids()
        case.machine.kill(SUPERVISOR)
        case.held(50, 3.0)
        case.hurt()
        proxy.faults = Faults(error_share=1.0)
        case.falls()
        case.ends()
        proxy.faults = Faults()
        begun = time.monotonic()
        case.machine.up()
        case.back_s = time.monotonic() - begun
        if case.machine.pids() != before:
            raise Fault(f"{case.name}: other processes than before run")


def gateway_killed(case: Case) -> None:
    """kill -9 of Envoy: it comes back with its weights, and the rollout goes on."""
    case.begin(20)
    case.rollout.wish(lambda spec: steering.paused(spec, True))
    case.rollout.wait("Paused")
    split = case.machine.live.weights()
    case.hurt()
    case.restarted("gateway")
    if case.machine.live.weights() != split:
        raise Fault(f"{case.name}: {case.machine.live.weights()} in place of {split}")
    case.rollout.wish(lambda spec: steering.paused(spec, False))
    case.promoted()


def disk_full(case: Case) -> None:
    """The stack's disk is full: nothing is acknowledged that cannot be kept, and the weight is held."""
    disk = _disk(case)
    case.begin(20)
    case.rollout.wait_weight(50)
    case.hurt()
    with disk.full():
        case.machine.wait(lambda: case.users.trouble is not None, "outcomes that are not acknowledged")
        case.held(50)
        case.require("Ramping")
    begun = time.monotonic()
    case.machine.wait(lambda: case.users.trouble is None, "outcomes that are acknowledged again")
    case.back_s = time.monotonic() - begun
    case.promoted()


def disk_full_under_errors(case: Case) -> None:
    """Full disk, and then the candidate errs: its weight falls, the status follows once there is room."""
    disk = _disk(case)
    case.breach = Breach(ERRORS, REQUESTS)
    with case.machine.proxy() as proxy:
        case.begin(50)
        with disk.full():
            case.machine.wait(lambda: case.users.trouble is not None, "outcomes that are not acknowledged")
            case.hurt()
            proxy.faults = Faults(error_share=1.0)
            case.falls()
            case.held(0)
        case.ends()


def _disk(case: Case) -> SmallDisk:
    if case.machine.disk is None:
        raise Fault(f"{case.name}: a full disk needs a small one")
    return case.machine.disk


SCENARIOS: dict[str, Callable[[Case], None]] = {
    scenario.__name__.replace("_", "-"): scenario
    for scenario in (
        slow_candidate,
        erroring_candidate,
        candidate_killed,
        candidate_hung,
        evidence_killed,
        evidence_hung_under_errors,
        controller_killed_validating,
        controller_killed_ramping,
        controller_killed_under_errors,
        controller_killed_paused,
        controller_killed_promoting,
        controller_killed_rolling_back,
        supervisor_killed,
        gateway_killed,
        disk_full,
        disk_full_under_errors,
    )
}
_SICK: frozenset[str] = frozenset(
    {
        "slow-candidate",
        "erroring-candidate",
        "candidate-killed",
        "candidate-hung",
        "evidence-hung-under-errors",
        "controller-killed-under-errors",
        "supervisor-killed",
        "disk-full-under-errors",
    }
)
"""Faults of the candidate; in the others both arms are healthy."""


def run(name: str, machine: Machine) -> Finding:
    """Lives a fault to the end of its rollout. Raises Fault where something does not come about."""
    machine.wait_ready()
    with Case(name, machine, "candidate" if name in _SICK else None) as case:
        SCENARIOS[name](case)
    return case.finding()
