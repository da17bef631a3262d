"""The live split: weights are written into the routes file, and read back from Envoy.

The router is the truth, the file is what it should become (as Flagger's SetRoutes and GetRoutes).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from model.errors import Fault, UserError
from serving.gateway.admin import CDS, RDS, Admin, Hosts
from serving.gateway.assignment import Arm
from serving.gateway.clusters import clusters, with_carrying
from serving.gateway.config import GatewayConfig
from serving.gateway.folder import CLUSTERS_FILE, CONFIG_FILE, ROUTES_FILE, GatewayFolder, config_text, json_text
from serving.gateway.routes import Json, routes
from serving.gateway.split import Split

_REASON = re.compile(r"Filesystem config update (?:rejected|failure): (.*)")


@dataclass(frozen=True)
class LiveSplit:
    """The split of a gateway's folder."""

    folder: GatewayFolder

    def weights(self) -> Split:
        """What Envoy routes by at this moment. Raises Fault where it runs not, or has no routes yet."""
        split = self.admin().weights()
        if split is None:
            raise Fault(f"Envoy of {self.folder.root} has no routes: {self._reason(0)}")
        return split

    def hosts(self) -> Mapping[Arm, Hosts]:
        """How many rankers each arm has, and how many of them get requests. Raises Fault where Envoy runs not."""
        return self.admin().hosts()

    def set_weights(
        self,
        candidate_weight: int | None = None,
        *,
        mirror: int | None = None,
        expected_phase: int | None = None,
        timeout_s: float = 10.0,
    ) -> Split:
        """Changes the split and waits until Envoy routes by it; returns what it routes by.

        candidate_weight, mirror: basis points; None: as it is. What changes nothing is no new phase.
        expected_phase: the phase that the caller has seen; another one there is a UserError, and nothing is written.

        Raises Fault with Envoy's reason where it refuses the routes (the file is then as before), and where it has not
        taken them within timeout_s or runs not: the file then holds the new split, and Envoy takes it when it can.
        """
        with self.folder.locked():
            before = self.folder.split()
            if expected_phase is not None and before.phase != expected_phase:
                raise UserError(f"phase {expected_phase} was expected, but the gateway is in phase {before.phase}")
            wanted = before.changed(candidate_weight, mirror)
            self._route(self.folder.config(), before, wanted, timeout_s)
        return wanted

    def reconfigure(self, config: GatewayConfig, timeout_s: float = 10.0) -> Split:
        """Gives the arms other rankers, timeouts or limits, or begins another experiment, without a restart.

        Returns the split, which goes on for the same experiment and salt, and begins at weight 0 for others. Raises
        UserError where a part cannot change while Envoy runs (nothing is written), Fault where Envoy has not taken it
        within timeout_s (the files then stay, and Envoy keeps what it had).
        """
        before = self.folder.config()
        if self.folder.bootstrap(config) != self.folder.bootstrap(before):
            raise UserError("listener, admin port, client timeouts and limits of clients need a restart of the gateway")
        admin = self.admin()
        taken = admin.stats(CDS).get(f"{CDS}.update_success", 0)
        split = self.folder.prepare(config)
        self._wait(split, None, timeout_s)
        self._settle(admin, taken, timeout_s)
        return split

    def apply(self, config: GatewayConfig, wanted: Split, timeout_s: float = 10.0) -> None:
        """Makes it this split, phase included, between these rankers; returns when Envoy routes by it. May be repeated.

        For whoever numbers the phases: a driver that tells several gateways the same. Where arms get other rankers, an
        arm that has no share of the units changes before the routes, the other one after them: no share is ever
        without its rankers. Raises UserError where a part cannot change while Envoy runs (nothing is written), Fault
        as set_weights does.
        """
        if self.folder.bootstrap(config) != self.folder.bootstrap(self.folder.config()):
            raise UserError("listener, admin port, client timeouts and limits of clients need a restart of the gateway")
        with self.folder.locked():
            before, rankers = self.folder.split(), clusters(config)
            self._rankers(with_carrying(json.loads(self.folder.read(CLUSTERS_FILE)), rankers, before), timeout_s)
            self._route(config, before, wanted, timeout_s)
            self._rankers(rankers, timeout_s)
            self.folder.write(CONFIG_FILE, config_text(config))

    def _route(self, config: GatewayConfig, before: Split, wanted: Split, timeout_s: float) -> None:
        """Writes the routes of a split and waits; takes them back where Envoy refuses them."""
        old, new = self.folder.read(ROUTES_FILE), json_text(routes(config, wanted))
        refused, seen = self._refused(), self._log_size()
        if new != old:
            self.folder.write(ROUTES_FILE, new)
        try:
            self._wait(wanted, refused, timeout_s)
        except _RefusedError:
            self.folder.write(ROUTES_FILE, old)
            raise Fault(
                f"Envoy refused phase {wanted.phase}: {self._reason(seen)}; phase {before.phase} stays"
            ) from None

    def _rankers(self, wanted: Json, timeout_s: float) -> None:
        """Writes clusters, if they are others, and waits until they are warm; while Envoy is down they wait for it."""
        content = json_text(wanted)
        if content == self.folder.read(CLUSTERS_FILE):
            return
        try:
            admin = self.admin()
            taken = admin.stats(CDS).get(f"{CDS}.update_success", 0)
        except Fault:
            self.folder.write(CLUSTERS_FILE, content)
            return
        self.folder.write(CLUSTERS_FILE, content)
        self._settle(admin, taken, timeout_s)

    def _settle(self, admin: Admin, taken: int, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not admin.settled(taken):
            if time.monotonic() > deadline:
                raise Fault(f"Envoy has not taken the new rankers within {timeout_s:g} s: {self._reason(0)}")
            time.sleep(0.01)

    def _wait(self, wanted: Split, refused: int | None, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        pause = 0.002
        while True:
            try:
                admin = self.admin()
                found = admin.weights()
                if found == wanted:
                    return
                if refused is not None and _refusals(admin) > refused:
                    raise _RefusedError
                why = f"it routes by phase {found.phase}" if found else "it has no routes"
            except Fault as error:
                why = str(error)
            if time.monotonic() > deadline:
                raise Fault(
                    f"phase {wanted.phase} is written, but Envoy has not taken it within {timeout_s:g} s: {why}"
                ) from None
            time.sleep(pause)
            pause = min(2 * pause, 0.05)

    def admin(self) -> Admin:
        """The admin page of this folder's Envoy. Raises Fault where it runs not."""
        try:
            address = self.folder.admin_address.read_text(encoding="utf-8").strip()
        except OSError:
            raise Fault(f"no Envoy runs for {self.folder.root}: it has no {self.folder.admin_address.name}") from None
        return Admin(address)

    def _refused(self) -> int | None:
        try:
            return _refusals(self.admin())
        except Fault:  # it runs not; the wait says so
            return None

    def _log_size(self) -> int:
        try:
            return self.folder.envoy_log.stat().st_size
        except OSError:
            return 0

    def _reason(self, seen: int) -> str:
        """Envoy's last word on a refused file, which only its log has."""
        try:
            said = self.folder.envoy_log.read_bytes()[seen:].decode("utf-8", "replace")
        except OSError:
            return "its log is not here to say why"
        reasons = _REASON.findall(said)
        return reasons[-1] if reasons else f"{self.folder.envoy_log} says why"


class _RefusedError(Exception):
    """Envoy counted a refused or unreadable file."""


def _refusals(admin: Admin) -> int:
    stats = admin.stats(RDS)
    return stats.get(f"{RDS}.update_rejected", 0) + stats.get(f"{RDS}.update_failure", 0)
