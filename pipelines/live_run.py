"""What follows the pipeline on one machine: the stack, a rollout of the pair, simulated users, until it is decided."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from model.artifact.manifest import read_manifest
from model.data.schema_file import SCHEMA_NAME, load_schema
from model.errors import Fault
from pipelines.live_rollout import ROLLOUT, LiveBundle, LiveSettings, rollout_spec
from serving.experiment.evidence import EvidenceSeries
from serving.experiment.page import page
from serving.experiment.report import report_of
from serving.rollout.judgement import Naming
from serving.rollout.sqlite_store import SqliteStore, checked
from serving.rollout.state import TERMINAL, Phase, Transition
from serving.rollout.status import ModelRolloutStatus
from serving.rollout.status_text import status_of
from serving.stack.folder import StackFolder
from serving.stack.pair import kept
from serving.stack.plan import Pair
from serving.stack.promotions import promoted, promotion_of
from serving.stack.stack import View, Wish, down, up, view
from serving.traffic.summary import HONESTY
from serving.traffic.warm_up import warm_up

SNAPSHOT_S = 5.0
"""How often the evidence is kept for the report's course over time."""
LOOK_S = 1.0
"""Between two looks of the controller."""
_PEEK_S = 0.5
_GRACE_S = 60.0
"""Beyond its deadline and the time to become ready, until a rollout must have ended."""


@dataclass(frozen=True)
class LiveInputs:
    """log: the folder of the log artifact. out: where state and report go. registry: where the pair is registered."""

    log: Path
    baseline: Path
    candidate: Path
    out: Path
    registry: str | None = None

    @property
    def state(self) -> Path:
        return self.out / "stack"

    @property
    def report(self) -> Path:
        return self.out / "experiment.html"

    @property
    def traffic(self) -> Path:
        """What the load itself counted."""
        return self.out / "traffic.json"


@dataclass(frozen=True)
class LiveEnd:
    """How it ended. phase: Succeeded, RolledBack or Failed."""

    phase: Phase
    history: tuple[Transition, ...]
    status: ModelRolloutStatus
    stack: View
    experiment: str


class Listener:
    """Hears how it goes; does nothing."""

    def stack(self, seen: View) -> None:
        """Called with every look at the stack while it starts."""

    def ready(self, seen: View) -> None:
        """Called once it is ready."""

    def turned(self, line: Transition) -> None:
        """Called with every transition of the rollout."""

    def registered(self, *, moved: bool, said: str) -> None:
        """Called once the registry's alias has followed a promotion, or could not."""

    def looked(self, status: ModelRolloutStatus) -> None:
        """Called with every look at the rollout."""


def run_live(inputs: LiveInputs, settings: LiveSettings, hear: Listener, *, keep_up: bool = False) -> LiveEnd:
    """Until the rollout is promoted or rolled back; then the report is written and the stack ended, unless kept up.

    A stack of an earlier run in the same folder is ended first where it serves other bundles.
    Raises Fault where a part does not come up, or the rollout does not end by its deadline.
    """
    folder = StackFolder.at(inputs.state)
    pair = Pair(baseline=inputs.baseline.absolute().as_uri(), candidate=inputs.candidate.absolute().as_uri())
    followed = None if inputs.registry is None or not keep_up else kept(inputs.registry)
    wish = Wish(pair, registry=followed, snapshot_s=SNAPSHOT_S, look_s=LOOK_S)
    _end_another(folder, pair)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        stack = up(folder, wish, hear.stack)
        hear.ready(stack)
        end = _lived(inputs, settings, stack, hear)
    except BaseException:
        if folder.plan.exists():
            down(folder)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    if not keep_up:
        down(folder)
    return end


def _interrupt(*_: object) -> None:
    """SIGTERM ends the stack too, as Ctrl-C does."""
    raise KeyboardInterrupt


def _end_another(folder: StackFolder, pair: Pair) -> None:
    if folder.plan.exists() and view(folder).plan.pair != pair:
        down(folder)


def _lived(inputs: LiveInputs, settings: LiveSettings, stack: View, hear: Listener) -> LiveEnd:
    gateway, evidence = _address(stack, "gateway"), _address(stack, "evidence")
    warm_up(inputs.log, [one.service.address for one in stack.processes if one.service.name.startswith("ranker-")])
    store = SqliteStore(stack.folder.rollouts)
    told = status_of(store.read(ROLLOUT)).history if ROLLOUT in store.names() else ()
    experiment = _created(store, inputs, settings)
    deadline = time.monotonic() + settings.deadline_s + 2 * _GRACE_S
    follower = Follower(store, hear, told[-1].seq if told else 0, deadline)
    follower.until(lambda status: status.phase not in {"Pending", "Validating"})
    with _traffic(inputs, settings, (gateway, evidence), experiment) as users:
        follower.until(lambda status: status.phase in TERMINAL, users)
    status = status_of(store.read(ROLLOUT))
    _write_report(inputs.report, evidence, experiment)
    _register(store, inputs.registry, hear)
    return LiveEnd(status.phase, follower.told, status, stack, experiment)


def _register(store: SqliteStore, registry: str | None, hear: Listener) -> None:
    """The alias `baseline` follows a promotion. That it could not is told, and takes nothing back."""
    promotion = promotion_of(store.read(ROLLOUT))
    if registry is not None and promotion is not None:
        code, said = promoted(promotion, registry)
        hear.registered(moved=code == 0, said=said)


def _created(store: SqliteStore, inputs: LiveInputs, settings: LiveSettings) -> str:
    """The rollout of the pair, always as a run of its own; returns its experiment's name."""
    baseline, candidate = (
        LiveBundle(one.absolute().as_uri(), read_manifest(one).digest) for one in (inputs.baseline, inputs.candidate)
    )
    spec = rollout_spec(baseline, candidate, load_schema(inputs.log / SCHEMA_NAME), settings)
    if ROLLOUT in store.names():
        stored = store.edit(ROLLOUT, lambda old: {**spec, "attempt": old.get("attempt", 1) + 1})
    else:
        stored = store.create(ROLLOUT, spec)
    attempt = stored.spec.get("attempt", 1)
    return Naming.of(checked(stored.spec), stored.identity).experiment(f"-{attempt}")


class Follower:
    """Reads the rollout's status until something is so, and tells what turns."""

    def __init__(self, store: SqliteStore, hear: Listener, last: int, deadline: float) -> None:
        """last: number of the last transition of earlier runs."""
        self._store = store
        self._hear = hear
        self._last = last
        self._deadline = deadline
        self.told: tuple[Transition, ...] = ()

    def until(
        self, condition: Callable[[ModelRolloutStatus], bool], users: subprocess.Popen[bytes] | None = None
    ) -> None:
        """Raises Fault where the time is up, or the users have gone before."""
        while True:
            read = self._store.read(ROLLOUT)
            status = status_of(read)
            if status.observed_generation >= read.generation:
                self.tell(status)
                if condition(status):
                    return
            if users is not None and users.poll() is not None:
                raise Fault(f"traffic ended by itself with exit code {users.returncode}; traffic.log says why")
            if time.monotonic() > self._deadline:
                raise Fault(f"rollout {ROLLOUT} has not ended by its deadline; it is {status.phase}: {status.message}")
            time.sleep(_PEEK_S)

    def tell(self, status: ModelRolloutStatus) -> None:
        """Hands on what is new in it."""
        for line in status.history:
            if line.seq > self._last:
                self._last = line.seq
                self.told = (*self.told, line)
                self._hear.turned(line)
        self._hear.looked(status)


@contextlib.contextmanager
def _traffic(
    inputs: LiveInputs, settings: LiveSettings, addresses: tuple[str, str], experiment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Simulated users, as a process of their own, until the body is done; then what they earned is delivered."""
    command = [sys.executable, "-P", "-m", "mgoe", "traffic", "replay", str(inputs.log), "--quiet"]
    options = {
        "--gateway": addresses[0],
        "--evidence": addresses[1],
        "--experiment": experiment,
        "--rate": settings.rate,
        "--duration": settings.deadline_s + 2 * _GRACE_S,  # ends by itself where nobody ends it
        "--candidates": settings.candidates,
        "--extras": settings.extras,
        "--seed": settings.seed,
        "--summary": inputs.traffic,
    }
    command += [str(word) for pair in options.items() for word in pair]
    with (inputs.out / "traffic.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(_GRACE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _write_report(path: Path, evidence: str, experiment: str) -> None:
    try:
        answer = httpx.get(f"{evidence}/v1/experiments/{experiment}/series", timeout=60, trust_env=False)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise Fault(f"evidence {evidence}: {error!r}") from None
    series = EvidenceSeries.from_json(json.loads(answer.content), evidence)
    path.write_text(page(report_of(series), note=HONESTY), encoding="utf-8")


def _address(stack: View, name: str) -> str:
    address = stack.address(name)
    if address is None:
        raise Fault(f"the stack in {stack.folder.root} has no {name}")
    return address
