"""The agent beside each Envoy of a cluster: follows the wanted split, tells the routed one, sends exposures on.

Contract: docs/decisions/0012-gateway-in-a-cluster.md. Threads: one follows the ConfigMap, one sends the log, one serves
HTTP and looks at the ConfigMap when it is told to. Envoy routes on without any of them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from model.errors import Fault, MgoeError
from serving.gateway.config import GatewayConfig
from serving.gateway.config_map import ConfigMapClient, Version
from serving.gateway.desired import KEY, DesiredSplit, parse_desired
from serving.gateway.exposure_sender import ExposureSender
from serving.gateway.live import LiveSplit, SupersededError

log = logging.getLogger(__name__)

APPLIED_FILE = "applied.json"
"""Version, run and owner of the ConfigMap that was applied last; tells a restarted agent that the folder is in use."""
RETRY_S = 0.5
STUCK_S = 120.0
"""A worker that has not come round for so long hangs: a turn of each takes some 20 s at most."""
SEND_S = 1.0
TEND_S = 5.0
APPLY_S = 3.0
"""Until a split must be written, and from then on until Envoy must have taken it; then the ConfigMap is read anew, and
may say something else."""


@dataclass
class Health:
    """What is told of the agent's two workers; replaced field by field, read by other threads."""

    seen_at: float = 0.0
    """Unix time of the last answer of the API server."""
    problem: str | None = None
    """Why the wanted split is not what is routed."""
    sending: str | None = None
    """Why exposures wait."""
    applied: Counter[str] = field(default_factory=Counter)
    """Splits by outcome: applied, refused, failed."""
    lines: Counter[str] = field(default_factory=Counter)
    """Lines of the log and answers of the evidence service, by kind."""
    turns: dict[str, float] = field(default_factory=dict)
    """When each worker last came round, on the agent's clock."""


class Agent:
    """One gateway pod's agent."""

    def __init__(
        self,
        live: LiveSplit,
        base: GatewayConfig,
        wanted: ConfigMapClient,
        sender: ExposureSender | None,
        replica: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """base: the pod's own settings, whose ports the rankers have. sender: None where no evidence is kept."""
        self.live = live
        self._clock = clock
        self.health = Health(turns=dict.fromkeys(("follow", "send") if sender else ("follow",), clock()))
        self.replica = replica
        self.sender = sender
        self._base = base
        self._wanted = wanted
        self._applied = self._remembered()
        self._taking = threading.Lock()
        """One version at a time: the watch and a look may bring the same one. An abort waits for nobody."""

    def idle_s(self) -> dict[str, float]:
        """Seconds since each worker came round: one that hangs or is gone gets older and older."""
        now = self._clock()
        return {worker: now - turn for worker, turn in list(self.health.turns.items())}

    @property
    def ready(self) -> bool:
        """Whether this gateway routes by what the cluster said, once at least."""
        return self._applied is not None

    def told(self) -> Mapping[str, Any]:
        """What Envoy routes by, and which version of the ConfigMap that came from. Raises Fault."""
        split, hosts = self.live.weights(), self.live.hosts()
        applied = self._applied or {}
        return {
            "replica": self.replica,
            "experiment": split.experiment,
            "salt": split.salt,
            "stratum": split.phase,
            "weight": split.candidate_weight,
            "mirror": split.mirror,
            "version": applied.get("version"),
            "run": applied.get("run"),
            "owner": applied.get("owner"),
            "arms": {arm: asdict(found) for arm, found in hosts.items()},
            "problem": self.health.problem,
        }

    def look(self) -> None:
        """Reads the ConfigMap and applies it now, whatever the watch has told. What goes wrong is a `problem`."""
        try:
            self._offer(self._wanted.read())
        except Fault as error:
            self._complain(str(error))

    def follow(self, stop: threading.Event) -> None:
        """Applies every version of the ConfigMap, until `stop`, whatever goes wrong in between."""
        while not stop.is_set():
            try:
                self._follow_once(stop)
            except Exception as error:  # noqa: BLE001  told, and tried again: no later abort would be applied
                self._trouble(error)
                stop.wait(RETRY_S)
            self.health.turns["follow"] = self._clock()

    def _follow_once(self, stop: threading.Event) -> None:
        found = self._wanted.read()
        self._offer(found)
        for changed in self._wanted.watch(found):
            if stop.is_set():
                return
            self._offer(changed)

    def _trouble(self, error: Exception) -> None:
        if isinstance(error, MgoeError):
            self._complain(str(error))
            return
        told = f"{type(error).__name__}: {error}"
        if told != self.health.problem:
            log.error("following the ConfigMap failed", exc_info=error)
        self.health.problem = told

    def _offer(self, found: Version | None) -> None:
        """Takes a version, in turn; an abort at once, whatever is being raised: its later phase is the fence."""
        with contextlib.nullcontext() if _aborts(found) else self._taking:
            self._take(found)

    def _take(self, found: Version | None) -> None:
        """Applies one version. What cannot be a split is told, and what is routed stays."""
        self.health.seen_at = time.time()
        if found is None:
            self._complain(f"ConfigMap {self._wanted.name} is not there; what is routed stays")
            return
        if self._applied is not None and self._applied.get("version") == found.version:
            self.health.problem = None
            return
        if not found.data and (self._applied or {}).get("version") is None:
            self._remember_first()
            return
        if KEY not in found.data:
            self._complain(f"ConfigMap {self._wanted.name} has no {KEY}; what is routed stays")
            return
        try:
            desired = parse_desired(found.data[KEY], f"ConfigMap {self._wanted.name}, {KEY}")
            self._apply(desired, found.version)
        except Fault as error:
            self.health.applied["failed"] += 1
            raise Fault(f"stratum {desired.stratum} of {desired.experiment}: {error}") from None
        except MgoeError as error:
            self.health.applied["refused"] += 1
            self._complain(str(error))

    def _apply(self, desired: DesiredSplit, version: str) -> None:
        before = time.monotonic()
        config = desired.config(self._base, self._wanted.namespace)
        self.live.apply(config, desired.split, APPLY_S, lambda: self._confirm(version))
        self._remember({"version": version, "run": desired.run, "owner": desired.owner})
        self.health.applied["applied"] += 1
        self.health.problem = None
        took = 1000 * (time.monotonic() - before)
        log.info("%s stratum %d, weight %d: %.0f ms", desired.experiment, desired.stratum, desired.weight, took)

    def _confirm(self, version: str) -> None:
        """Reads the ConfigMap once more before a raise is written: what it says may be an abort by now."""
        found = self._wanted.read()
        if found is None or found.version != version:
            raise SupersededError(f"ConfigMap {self._wanted.name} was changed before version {version} was routed")

    def _complain(self, problem: str | None) -> None:
        if problem is not None and problem != self.health.problem:
            log.warning("%s", problem)
        self.health.problem = problem

    def _remember_first(self) -> None:
        """Nobody has wished for anything: the pod's own settings are what is to be routed."""
        if self._applied is None and self.live.weights():
            self._remember({"version": None})
        self.health.problem = None

    def _remember(self, applied: dict[str, Any]) -> None:
        self.live.folder.write(APPLIED_FILE, json.dumps(applied))
        self._applied = applied

    def _remembered(self) -> dict[str, Any] | None:
        try:
            found = json.loads((self.live.folder.root / APPLIED_FILE).read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def send(self, stop: threading.Event) -> None:
        """Sends exposures and keeps the log short, until `stop`; then what is left, once."""
        if self.sender is None:
            return
        tended = 0.0
        while True:
            ending = stop.is_set()
            waits = self._send_once()
            self.health.turns["send"] = self._clock()
            if time.monotonic() - tended > TEND_S:
                self._tend()
                tended = time.monotonic()
            if waits and ending:
                return
            if waits:
                stop.wait(SEND_S)

    def _send_once(self) -> bool:
        """Whether there is nothing to do for now."""
        assert self.sender is not None  # noqa: S101
        try:
            sent = self.sender.step(self.health.lines)
        except Exception as error:  # noqa: BLE001  told, and tried again: exposures must not stop for good
            told = str(error) if isinstance(error, MgoeError) else f"{type(error).__name__}: {error}"
            if told != self.health.sending:
                log.warning("exposures wait: %s", told)
            self.health.sending = told
            return True
        self.health.sending = None
        return sent == 0

    def _tend(self) -> None:
        assert self.sender is not None  # noqa: S101
        try:
            self.sender.spool.tend()
        except (MgoeError, OSError) as error:
            log.warning("the log stays as long as it is: %s", error)

    def drain(self, settle_s: float, drain_s: float) -> None:
        """Readiness of Envoy fails, then no new connections; returns when nothing is active, or after drain_s."""
        try:
            self.live.admin().drain(settle_s, drain_s)
        except Fault as error:
            log.info("nothing to drain: %s", error)


def _aborts(found: Version | None) -> bool:
    """Whether a version takes all units from the candidate."""
    try:
        return found is not None and parse_desired(found.data.get(KEY, ""), KEY).weight == 0
    except MgoeError:
        return False
