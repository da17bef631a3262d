"""A real local stack, what is asked of it, and ways to hurt it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.faults.disk import SmallDisk
from benchmarks.faults.pair import SmallPair
from benchmarks.faults.users import Users
from model.artifact.manifest import read_manifest
from model.data.schema_file import SCHEMA_NAME, load_schema
from model.errors import Fault
from serving.gateway.folder import GatewayFolder
from serving.gateway.live import LiveSplit
from serving.rollout.judgement import Naming
from serving.rollout.sqlite_store import SqliteStore, checked
from serving.rollout.status import ModelRolloutStatus
from serving.rollout.status_text import status_of
from serving.stack.folder import StackFolder
from serving.stack.plan import Pair
from serving.stack.records import SUPERVISOR, read_records
from serving.stack.stack import Wish, down, up, view
from serving.traffic.click_model import ClickModelConfig
from serving.traffic.fault_proxy import FaultProxy, Faults
from serving.traffic.load import LoadOptions
from serving.traffic.log_design import metrics_of, rollout_metrics

WAIT_S = 120.0
"""For whatever is waited for: the machine may have other work."""
RATE = 20.0
Change = Callable[[dict[str, Any]], Mapping[str, Any]]


@dataclass
class Machine:
    """As a context: the stack is up. disk: the one that its folder lies on; None: one that is not to be filled.
    rankers: of each arm. With one, what hurts it hurts its arm; None: as many as `mgoe up` starts."""

    folder: StackFolder
    pair: SmallPair
    disk: SmallDisk | None = None
    seed: int = 0
    rankers: int | None = 1
    _killed_at: dict[str, float] = field(default_factory=dict)

    def __enter__(self) -> Machine:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        down(self.folder)

    def up(self) -> None:
        """All of it running and ready."""
        pair = Pair(baseline=str(self.pair.baseline), candidate=str(self.pair.candidate))
        up(self.folder, Wish(pair, rankers=self.rankers, console=self.rankers is None))

    @property
    def database(self) -> Path:
        return self.folder.root / "evidence.db"

    @property
    def live(self) -> LiveSplit:
        return LiveSplit(GatewayFolder(self.folder.gateway))

    def weight(self) -> int | None:
        """Percent of the candidate in Envoy's own routes; None: they cannot be read."""
        try:
            return self.live.weights().candidate_weight // 100
        except Fault:
            return None

    def address(self, name: str) -> str:
        return str(view(self.folder).address(name))

    def wait(self, condition: Callable[[], bool], what: str, every_s: float = 0.1) -> float:
        """Returns the seconds. Raises Fault where they are too many."""
        begun = time.monotonic()
        while not condition():
            if time.monotonic() > begun + WAIT_S:
                raise Fault(f"not within {WAIT_S:g} s: {what}")
            time.sleep(every_s)
        return time.monotonic() - begun

    def wait_ready(self) -> None:
        """Until every process does its work."""
        self.wait(lambda: view(self.folder).ready, "every process ready")

    def pids(self) -> dict[str, int | None]:
        """Of every process but the supervisor."""
        records = read_records(self.folder)
        return {} if records is None else {name: one.pid for name, one in records.processes.items()}

    # What hurts it

    def pid(self, name: str) -> int | None:
        records = read_records(self.folder)
        record = None
        if records is not None:
            record = records.supervisor if name == SUPERVISOR else records.processes.get(name)
        return None if record is None else record.pid

    def kill(self, name: str) -> int:
        """kill -9; returns the process' number."""
        pid = self.pid(name)
        if pid is None:
            raise Fault(f"{name} does not run")
        self._killed_at[name] = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_back(self, name: str, killed: int) -> float:
        """Until another process does its work; returns the seconds since the kill."""

        def back() -> bool:
            pid = self.pid(name)
            if pid in {None, killed}:
                return False
            return any(one.service.name == name and one.condition == "ready" for one in view(self.folder).processes)

        self.wait(back, f"{name} after its end")
        return time.monotonic() - self._killed_at[name]

    @contextlib.contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """The process stands still (SIGSTOP) meanwhile."""
        pid = self.pid(name)
        if pid is None:
            raise Fault(f"{name} does not run")
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def proxy(self) -> Iterator[FaultProxy]:
        """A fault proxy between Envoy and the candidate, which has no fault yet: set its `faults`."""
        before = self.live.folder.config()
        (endpoint,) = before.candidate.endpoints
        with _running(FaultProxy(f"http://{endpoint.host}:{endpoint.http}", Faults(seed=self.seed))) as proxy:
            through = before.candidate.model_copy(
                update={"endpoints": (endpoint.model_copy(update={"http": proxy.port}),)}
            )
            self._candidate(before, through)
            try:
                yield proxy
            finally:
                self._candidate(self.live.folder.config(), before.candidate)

    def _candidate(self, config: Any, side: Any) -> None:
        self.live.reconfigure(config.model_copy(update={"candidate": side}))

    # Rollouts and users

    def create(self, name: str, **changes: object) -> Rollout:
        """A rollout that no verdict ends: steps 20 and 50, and then whatever a person wants."""
        baseline, candidate = (
            {"bundle": one.as_uri(), "digest": read_manifest(one).digest}
            for one in (self.pair.baseline, self.pair.candidate)
        )
        spec = {
            "baseline": baseline,
            "candidate": candidate,
            "driver": {"type": "local", "services": {"baseline": "baseline", "candidate": "candidate"}},
            "steps": [{"weight": 20, "minSeconds": 3, "minUnits": 10}, {"weight": 50, "minSeconds": 3600}],
            "metrics": rollout_metrics(metrics_of(load_schema(self.pair.log / SCHEMA_NAME))),
            "guardrails": [
                {"name": "errors", "type": "ErrorRate", "max": ERRORS, "minRequests": REQUESTS, "windowSeconds": 5}
            ],
            "analysis": {"burnInUnits": 1_000_000},
            "promotion": {"bakeSeconds": 3},
            "whenBlind": {"seconds": 300},
        }
        store = SqliteStore(self.folder.rollouts)
        store.create(name, {**spec, **changes})
        return Rollout(self, store, name)

    def users(self, rollout: Rollout) -> Users:
        """Of this rollout's experiment; feedback is alike in both arms."""
        return Users(
            LoadOptions(
                log=self.pair.log,
                gateway=self.address("gateway"),
                evidence=self.address("evidence"),
                click_model=ClickModelConfig(),
                experiment=rollout.experiment,
                rate=RATE,
                duration_s=None,
                seed=self.seed,
                plants=("aa",),
            )
        )


ERRORS = 0.2
REQUESTS = 20
"""Of the guardrail."""


@dataclass(frozen=True)
class Rollout:
    """One of them, and what a person does with it."""

    machine: Machine
    store: SqliteStore
    name: str

    @property
    def experiment(self) -> str:
        read = self.store.read(self.name)
        return Naming.of(checked(read.spec), read.identity).experiment("-1")

    @property
    def status(self) -> ModelRolloutStatus:
        return status_of(self.store.read(self.name))

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(line.reason for line in self.status.history)

    def wait(self, phase: str) -> float:
        """Until it is in that phase."""
        try:
            return self.machine.wait(lambda: self.status.phase == phase, f"{self.name} {phase}", 0.02)
        except Fault as error:
            raise Fault(f"{error}; it is {self.status.phase}: {self.status.message}; {self.reasons}") from None

    def wait_weight(self, percent: int) -> float:
        """Until Envoy routes by it."""
        try:
            what = f"{self.name}: {percent} % in Envoy's routes"
            return self.machine.wait(lambda: self.machine.weight() == percent, what, 0.03)
        except Fault as error:
            raise Fault(f"{error}; it is {self.status.phase}: {self.status.message}; {self.reasons}") from None

    def wish(self, change: Change) -> None:
        """A person's."""
        self.store.edit(self.name, change)


@contextlib.contextmanager
def _running(proxy: FaultProxy) -> Iterator[FaultProxy]:
    """The proxy in a loop of its own."""
    loop, ready, ends = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with proxy:
            ready.set()
            await ends.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="fault-proxy", daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(ends.set)
        thread.join()
        loop.close()
