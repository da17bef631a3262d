"""The agent beside each Envoy of a cluster: follows the wanted split, tells the routed one, sends exposures on.

Contract: docs/decisions/0012-gateway-in-a-cluster.md. Threads: one follows the ConfigMap, one sends the log, one serves
HTTP and looks at the ConfigMap when it is told to. Envoy routes on without any of them.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from model.errors import Fault, MgoeError
from serving.gateway.config import GatewayConfig
from serving.gateway.config_map import ConfigMapClient, Version
from serving.gateway.desired import KEY, DesiredSplit, parse_desired
from serving.gateway.exposure_sender import ExposureSender
from serving.gateway.live import LiveSplit

log = logging.getLogger(__name__)

APPLIED_FILE = "applied.json"
"""Version, run and owner of the ConfigMap that was applied last; tells a restarted agent that the folder is in use."""
RETRY_S = 0.5
SEND_S = 1.0
TEND_S = 5.0
APPLY_S = 3.0
"""Until Envoy must have taken a split; then the ConfigMap is read anew, which may say something else by then."""


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


class Agent:
    """One gateway pod's agent."""

    def __init__(
        self, live: LiveSplit, base: GatewayConfig, wanted: ConfigMapClient, sender: ExposureSender | None, replica: str
    ) -> None:
        """base: the pod's own settings, whose ports the rankers have. sender: None where no evidence is kept."""
        self.live = live
        self.health = Health()
        self.replica = replica
        self.sender = sender
        self._base = base
        self._wanted = wanted
        self._applied = self._remembered()
        self._taking = threading.Lock()
        """One version at a time: the watch and a look may bring the same one."""

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
            with self._taking:
                self._take(self._wanted.read())
        except Fault as error:
            self._complain(str(error))

    def follow(self, stop: threading.Event) -> None:
        """Applies every version of the ConfigMap, until `stop`."""
        while not stop.is_set():
            try:
                self._follow_once(stop)
            except Fault as error:
                self._complain(str(error))
                stop.wait(RETRY_S)

    def _follow_once(self, stop: threading.Event) -> None:
        with self._taking:
            found = self._wanted.read()
            self._take(found)
        for changed in self._wanted.watch(found):
            if stop.is_set():
                return
            with self._taking:
                self._take(changed)

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
        self.live.apply(desired.config(self._base, self._wanted.namespace), desired.split, APPLY_S)
        self._remember({"version": version, "run": desired.run, "owner": desired.owner})
        self.health.applied["applied"] += 1
        self.health.problem = None
        took = 1000 * (time.monotonic() - before)
        log.info("%s stratum %d, weight %d: %.0f ms", desired.experiment, desired.stratum, desired.weight, took)

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
        except Fault as error:
            if str(error) != self.health.sending:
                log.warning("%s", error)
            self.health.sending = str(error)
            return True
        self.health.sending = None
        return sent == 0

    def _tend(self) -> None:
        assert self.sender is not None  # noqa: S101
        try:
            self.sender.spool.tend()
        except Fault as error:
            log.warning("the log stays as long as it is: %s", error)

    def drain(self, settle_s: float, drain_s: float) -> None:
        """Readiness of Envoy fails, then no new connections; returns when nothing is active, or after drain_s."""
        try:
            self.live.admin().drain(settle_s, drain_s)
        except Fault as error:
            log.info("nothing to drain: %s", error)
