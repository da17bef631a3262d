"""Envoy's admin page: what it runs with, how its rankers are, and the drain."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.errors import Fault
from serving.gateway.assignment import Arm
from serving.gateway.bootstrap import LISTENER, STAT_PREFIX
from serving.gateway.routes import ROUTES, split_of
from serving.gateway.split import Split

RDS = f"http.{STAT_PREFIX}.rds.{ROUTES}"
CDS = "cluster_manager.cds"
ASK_S = 5.0
"""An answer takes milliseconds; a page that hangs must not hold anybody for long."""
ACTIVE = f"http.{STAT_PREFIX}.downstream_rq_active"


class NotRunningError(Fault):
    """Nothing listens where this Envoy's admin page was: it has ended, or does not serve yet."""


@dataclass(frozen=True)
class Hosts:
    """Rankers of an arm, over its transports (the fewest count)."""

    healthy: int
    known: int


class Admin:
    """A client of one Envoy. Raises Fault where it cannot be reached, or answers what no Envoy answers."""

    def __init__(self, address: str, timeout_s: float = ASK_S) -> None:
        self.address = address
        self.timeout_s = timeout_s

    def ready(self) -> bool:
        return self._ask("GET", "/ready", fine=(200, 503))[0] == 200

    def weights(self) -> Split | None:
        """The split that Envoy routes by, read from its own route table; None: it has none yet."""
        dump = self._json("/config_dump?resource=dynamic_route_configs")
        for entry in dump.get("configs", ()):
            table = entry["route_config"]
            if table["name"] == ROUTES:
                try:
                    return split_of(table)
                except (KeyError, TypeError, ValueError) as error:
                    raise Fault(f"Envoy at {self.address} routes by a table that is not ours: {error!r}") from None
        return None

    def stats(self, prefix: str) -> Mapping[str, int]:
        """Counters and gauges whose names begin so."""
        found = self._json(f"/stats?format=json&filter=^{prefix.replace('.', '[.]')}")["stats"]
        return {entry["name"]: entry["value"] for entry in found if isinstance(entry.get("value"), int)}

    def settled(self, taken: int) -> bool:
        """Whether more than `taken` cluster files were accepted, and none of their clusters is still warming."""
        stats = self.stats("cluster_manager")
        return stats.get(f"{CDS}.update_success", 0) > taken and stats.get("cluster_manager.warming_clusters", 0) == 0

    def hosts(self) -> Mapping[Arm, Hosts]:
        """How many rankers each arm has, and how many of them get requests."""
        counts: dict[Arm, list[tuple[int, int]]] = {"baseline": [], "candidate": []}
        for arm, told in counts.items():
            stats = self.stats(f"cluster.{arm}")
            for name in (arm, f"{arm}-grpc"):
                if f"cluster.{name}.membership_total" in stats:
                    told.append(
                        (stats[f"cluster.{name}.membership_healthy"], stats[f"cluster.{name}.membership_total"])
                    )
        return {
            arm: Hosts(min(healthy for healthy, _ in told), min(known for _, known in told)) if told else Hosts(0, 0)
            for arm, told in counts.items()
        }

    def port(self) -> int:
        """Port of the gateway's listener."""
        for status in self._json("/listeners?format=json").get("listener_statuses", ()):
            if status["name"] == LISTENER:
                return int(status["local_address"]["socket_address"]["port_value"])
        raise Fault(f"Envoy at {self.address} has no listener {LISTENER!r} yet")

    def fail_health_check(self) -> None:
        """Readiness fails, and every answer ends its connection."""
        self._ask("POST", "/healthcheck/fail")

    def drain_listeners(self) -> None:
        """No new connections."""
        self._ask("POST", "/drain_listeners")

    def drain(self, settle_s: float, drain_s: float) -> None:
        """Takes requests for settle_s after readiness has failed, then no new connections; returns when nothing is
        active any more, or after drain_s."""
        self.fail_health_check()
        time.sleep(settle_s)
        self.drain_listeners()
        deadline = time.monotonic() + drain_s
        while self.stats(ACTIVE).get(ACTIVE, 0) > 0 and time.monotonic() < deadline:
            time.sleep(0.02)

    def reopen_logs(self) -> None:
        """After the log file was renamed."""
        self._ask("POST", "/reopen_logs")

    def prometheus(self) -> str:
        return self._ask("GET", "/stats/prometheus")[1].decode()

    def _json(self, path: str) -> Any:
        try:
            return json.loads(self._ask("GET", path)[1])
        except ValueError as error:
            raise Fault(f"Envoy's admin page at {self.address}{path} answers no JSON: {error}") from None

    def _ask(self, method: str, path: str, fine: tuple[int, ...] = (200,)) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.address, timeout=self.timeout_s)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            status, body = answer.status, answer.read()
        except ConnectionRefusedError as error:
            raise NotRunningError(f"Envoy's admin page at {self.address} does not answer: {error!r}") from None
        except (OSError, http.client.HTTPException) as error:
            raise Fault(f"Envoy's admin page at {self.address} does not answer: {error!r}") from None
        finally:
            connection.close()
        if status not in fine:
            raise Fault(f"Envoy's admin page at {self.address}{path} answers {status}")
        return status, body
