"""A stack from its wish to its end: up, what is seen of it, down."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import get_args

from model.errors import Fault, UserError
from serving.gateway.assignment import Arm
from serving.gateway.config import Admin, Endpoint, Experiment, GatewayConfig, Listener, Side
from serving.gateway.folder import CONFIG_FILE, GatewayFolder
from serving.stack.folder import StackFolder
from serving.stack.health import Seen, look
from serving.stack.identity import send, wait_ended
from serving.stack.plan import Pair, StackPlan, read_plan, write_plan
from serving.stack.ports import HOST, chosen
from serving.stack.records import SUPERVISOR, Records, living, read_records
from serving.stack.scrape import scrape_config
from serving.stack.services import gateway_names, port_names, ranker_names, services_of
from serving.stack.supervisor import end_in_waves, launch

READY_S = 180.0
"""The first start of a ranker makes tables of its items."""
DOWN_S = 30.0
CRASHES = 3
"""Ends of a process that never became ready, after which `up` gives up."""
TWO = 2
"""Rankers of each arm, and Envoys, of a stack that is not told otherwise: whichever process dies, users are served."""
_LOOK_S = 0.25
_CHOICES = ("pair", "scorers", "rankers", "gateways", "registry", "snapshot_s", "look_s", "console")
"""Of a Wish, that a plan keeps."""


@dataclass(frozen=True)
class Wish:
    """What a person asks `up` for; None: as before, or the default."""

    pair: Pair | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    scorers: str | None = None
    rankers: int | None = None
    gateways: int | None = None
    registry: str | None = None
    snapshot_s: float | None = None
    look_s: float | None = None
    console: bool | None = None


@dataclass(frozen=True)
class View:
    """A stack at this moment."""

    folder: StackFolder
    plan: StackPlan
    records: Records | None
    processes: tuple[Seen, ...]

    @property
    def ready(self) -> bool:
        return (
            self.records is not None
            and self.records.supervised
            and all(one.condition == "ready" for one in self.processes)
        )

    def address(self, name: str) -> str | None:
        """Where a process is reached; None where the stack has none of that name."""
        return next((one.service.address for one in self.processes if one.service.name == name), None)


def up(folder: StackFolder, wish: Wish, show: Callable[[View], None] = lambda _: None) -> View:
    """Everything running and ready; what runs already goes on. show: called with every look meanwhile.

    Raises UserError where the folder is in use by another stack or a port is taken; Fault where a process does not come
    up, and then nothing is left running that this call has started.
    """
    folder.made()
    with folder.locked("up") as mine:
        if not mine:
            raise UserError(f"another `mgoe up` or `mgoe down` is at work in {folder.root}")
        records = read_records(folder)
        began = records is None or not records.supervised
        plan = planned(folder, wish, alive=_alive(folder))
        if began:
            _prepare(folder, plan)
            launch(folder)
        try:
            return _wait_ready(folder, show)
        except BaseException:
            if began:
                _end(folder)
            raise


def down(folder: StackFolder) -> int:
    """Ends every process of the stack, drained and in order, and says how many. Raises UserError where none is."""
    if not folder.plan.exists():
        raise UserError(f"{folder.root} holds no stack: name the folder of `mgoe up` with --state")
    with folder.locked("up") as mine:
        if not mine:
            raise UserError(f"another `mgoe up` or `mgoe down` is at work in {folder.root}")
        return _end(folder)


def view(folder: StackFolder) -> View:
    """Raises UserError where there is no stack."""
    plan = read_plan(folder)
    if plan is None:
        raise UserError(f"{folder.root} holds no stack: `mgoe up --state {folder.root}` makes one")
    records = read_records(folder)
    return View(folder, plan, records, look(services_of(plan, folder), records))


def _alive(folder: StackFolder) -> bool:
    """Whether any process of the stack runs, supervised or not."""
    return bool(living(folder))


def planned(folder: StackFolder, wish: Wish, *, alive: bool) -> StackPlan:
    """The plan to run: while anything runs, only the one that it runs by."""
    before = read_plan(folder)
    if before is None and wish.pair is None:
        raise UserError("no bundles are named: --baseline and --candidate, or --run with the folder of `mgoe run`")
    wanted = _wished(before, wish)
    if alive and before is not None:
        if wanted != before:
            raise UserError(
                f"state folder {folder.root} is in use by a stack of other bundles or options: "
                f"`mgoe down --state {folder.root}` first, or name another with --state"
            )
        return before
    names = port_names(wanted)
    for name in wish.ports:
        if name not in names:
            raise UserError(f"--port {name}: the stack's ports are {', '.join(names)}")
    return wanted.model_copy(update={"ports": chosen(names, wish.ports, before.ports if before else {})})


def _wished(before: StackPlan | None, wish: Wish) -> StackPlan:
    """The plan before with what is asked for; ports come later."""
    asked = {name: getattr(wish, name) for name in _CHOICES}
    changes = {name: value for name, value in asked.items() if value is not None}
    if before is not None:
        return before.model_copy(update=changes | ({"ports": {**before.ports, **wish.ports}} if wish.ports else {}))
    there = {"prometheus": shutil.which("prometheus") is not None, "console": _has_console()}
    return StackPlan.model_validate(there | {"rankers": TWO, "gateways": TWO} | changes)


def _has_console() -> bool:
    try:
        return importlib.util.find_spec("serving.console.commands") is not None
    except ModuleNotFoundError:
        return False


def _prepare(folder: StackFolder, plan: StackPlan) -> None:
    """Writes what the processes read. What runs already is left alone by it: it was written by the same plan."""
    write_plan(folder, plan)
    if plan.prometheus:
        folder.write(folder.prometheus / "prometheus.yml", scrape_config(plan))
    GatewayFolder(folder.gateway).prepare(_gateway(folder, plan))


def _gateway(folder: StackFolder, plan: StackPlan) -> GatewayConfig:
    """The gateway's configuration. An experiment that runs over these bundles goes on; others begin at weight 0."""
    ports = plan.ports
    admins = [ports[f"{name}-admin"] for name in gateway_names(plan)]
    name = f"stack-{sha256(plan.pair.model_dump_json().encode()).hexdigest()[:12]}"
    sides = {
        arm: Side(
            endpoints=tuple(
                Endpoint(host=HOST, http=ports[one], grpc=ports[f"{one}-grpc"]) for one in ranker_names(plan, arm)
            )
        )
        for arm in get_args(Arm)
    }
    fresh = GatewayConfig(
        experiment=Experiment(id=name, salt=name),
        baseline=sides["baseline"],
        candidate=sides["candidate"],
        listener=Listener(host=HOST, port=ports["gateway"]),
        admin=Admin(port=admins[0], partners=tuple(admins[1:])),
    )
    mark = folder.gateway / "pair"
    known = mark.read_text(encoding="utf-8") if mark.exists() else None
    folder.write(mark, name)
    if known != name or not (folder.gateway / CONFIG_FILE).exists():
        return fresh
    return fresh.model_copy(update={"experiment": GatewayFolder(folder.gateway).config().experiment})


def _wait_ready(folder: StackFolder, show: Callable[[View], None]) -> View:
    deadline, before = time.monotonic() + READY_S, dict[str, int]()
    while True:
        seen = view(folder)
        show(seen)
        if seen.ready:
            return seen
        if SUPERVISOR not in living(folder):
            raise Fault(f"the supervisor has ended: {last_words(folder, SUPERVISOR)}")
        for one in seen.processes:
            restarts = 0 if one.record is None else one.record.restarts
            if one.record is not None and restarts - before.setdefault(one.service.name, restarts) >= CRASHES:
                raise Fault(
                    f"{one.service.name} does not come up: it ended {CRASHES} times, last with {one.record.last_end}: "
                    f"{last_words(folder, one.service.name)}"
                )
        if time.monotonic() > deadline:
            late = [one.service.name for one in seen.processes if one.condition != "ready"]
            said = f"{late[0]} said last: {last_words(folder, late[0])}" if late else "`mgoe logs` says more"
            raise Fault(f"not ready after {READY_S:g} s: {', '.join(late)}; {said}")
        time.sleep(_LOOK_S)


def last_words(folder: StackFolder, name: str) -> str:
    """The last line that a process wrote."""
    try:
        lines = folder.log(name).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return "it wrote nothing"
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "it wrote nothing")


def _end(folder: StackFolder) -> int:
    """The supervisor ends its processes; what is left, without one or despite it, is ended here."""
    found = living(folder)
    supervisor = found.get(SUPERVISOR)
    if supervisor is not None:
        send(supervisor, signal.SIGTERM)
        if not wait_ended(supervisor, DOWN_S):
            send(supervisor, signal.SIGKILL)
            wait_ended(supervisor, 1.0)
    plan = read_plan(folder)
    services = {} if plan is None else {one.name: one for one in services_of(plan, folder)}
    asyncio.run(end_in_waves(living(folder), services))
    return len(found)
