"""The processes of a stack: what each is started with, when it is ready, and in which order they end.

Pure, but for the access logs: those that lie in the gateway's folder are read to their end.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from serving.gateway.assignment import Arm
from serving.gateway.folder import GatewayFolder
from serving.stack.folder import StackFolder
from serving.stack.plan import StackPlan
from serving.stack.ports import HOST

MODEL = "mgoe"
"""Name under which the rankers serve."""
PYTHON = (sys.executable, "-P", "-m")
"""-P: what lies in the folder that a process works in is no module of it."""
RANKER_READY = "/v2/health/ready"


@dataclass(frozen=True)
class Service:
    """One process."""

    name: str
    command: tuple[str, ...]
    port: int
    ready: str
    """Address that answers 200 once it does its work."""
    wave: int
    """Of the stop: the lowest ends first, each wave together."""
    grace_s: float = 5.0
    """Between SIGTERM and SIGKILL."""
    after: tuple[str, ...] = ()
    """Processes that are ready before it is first started."""
    drained: str | None = None
    """Address of Envoy's admin page, which is asked to drain before the signal."""

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"


def port_names(plan: StackPlan) -> tuple[str, ...]:
    """Every port that the stack needs, by name."""
    optional = [name for name, wanted in (("prometheus", plan.prometheus), ("console", plan.console)) if wanted]
    rankers = [
        port
        for name in (*ranker_names(plan, "baseline"), *ranker_names(plan, "candidate"))
        for port in (name, f"{name}-grpc")
    ]
    admins = [f"{name}-admin" for name in gateway_names(plan)]
    return ("gateway", *admins, *rankers, "evidence", "controller", *optional)


def ranker_names(plan: StackPlan, arm: Arm) -> tuple[str, ...]:
    """The rankers of an arm: `ranker-baseline`, `ranker-baseline-2` and so on."""
    return _numbered(f"ranker-{arm}", plan.rankers)


def gateway_names(plan: StackPlan) -> tuple[str, ...]:
    """The Envoys: `gateway`, `gateway-2` and so on, all on the port of the first."""
    return _numbered("gateway", plan.gateways)


def _numbered(first: str, count: int) -> tuple[str, ...]:
    return (first, *(f"{first}-{number}" for number in range(2, count + 1)))


def services_of(plan: StackPlan, folder: StackFolder) -> tuple[Service, ...]:
    """In the order of their start."""
    arms: tuple[Arm, ...] = ("baseline", "candidate")
    found = [_ranker(plan, folder, arm, name) for arm in arms for name in ranker_names(plan, arm)]
    gateways = [_gateway(plan, folder, name, number) for number, name in enumerate(gateway_names(plan), start=1)]
    found += [_evidence(plan, folder), *gateways, _controller(plan, folder)]
    if plan.prometheus:
        found.append(_prometheus(plan, folder))
    if plan.console:
        found.append(_console(plan, folder))
    return tuple(found)


def _local(port: int, path: str) -> str:
    return f"http://{HOST}:{port}{path}"


def _mgoe(*words: object) -> tuple[str, ...]:
    return (*PYTHON, "mgoe", *map(str, words))


def _ranker(plan: StackPlan, folder: StackFolder, arm: Arm, name: str) -> Service:
    bundle: str = getattr(plan.pair, arm)
    port = plan.ports[name]
    command = _mgoe(
        *("serve", "--bundle", bundle, "--name", MODEL, "--arm", arm, "--address", HOST),
        *("--http-port", port, "--grpc-port", plan.ports[f"{name}-grpc"]),
        *("--scorers", plan.scorers, "--cache", folder.cache, "--settle", 0.2, "--drain", 4),
    )
    return Service(name, command, port, _local(port, RANKER_READY), wave=2, grace_s=8)


def _gateway(plan: StackPlan, folder: StackFolder, name: str, number: int) -> Service:
    """Its own admin page says whether it is ready: on the port that they share, any of them answers."""
    command = (*PYTHON, "serving.stack.gateway_process", str(folder.gateway), str(number))
    admin = f"{HOST}:{plan.ports[f'{name}-admin']}"
    return Service(name, command, plan.ports["gateway"], f"http://{admin}/ready", wave=1, drained=admin)


def _evidence(plan: StackPlan, folder: StackFolder) -> Service:
    port = plan.ports["evidence"]
    logs = GatewayFolder(folder.gateway).access_logs(plan.gateways)
    command = _mgoe(
        *("evidence", "serve", "--open", "--migrate", "--database", folder.evidence, "--address", HOST),
        *("--port", port, "--snapshot-minutes", plan.snapshot_s / 60),
        *(word for log in logs for word in ("--access-log", log)),
    )
    return Service("evidence", command, port, _local(port, "/health/ready"), wave=3, grace_s=8)


def _controller(plan: StackPlan, folder: StackFolder) -> Service:
    port = plan.ports["controller"]
    command = _mgoe(
        *("rollout", "controller", "--store", folder.rollouts, "--gateway", folder.gateway, "--port", port),
        *("--evidence", f"http://{HOST}:{plan.ports['evidence']}", "--interval", plan.look_s),
        *(("--prometheus", f"http://{HOST}:{plan.ports['prometheus']}") if plan.prometheus else ()),
    )
    # It would take rankers that are still loading for lost ones, and the candidate back.
    arms: tuple[Arm, ...] = ("baseline", "candidate")
    rankers = [name for arm in arms for name in ranker_names(plan, arm)]
    after = (*rankers, "evidence", *gateway_names(plan))
    return Service("controller", command, port, _local(port, "/health/ready"), wave=0, after=after)


def _prometheus(plan: StackPlan, folder: StackFolder) -> Service:
    port = plan.ports["prometheus"]
    command = (
        "prometheus",
        f"--config.file={folder.prometheus / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder.prometheus / 'data'}",
        f"--web.listen-address={HOST}:{port}",
        "--storage.tsdb.retention.time=7d",
        "--log.level=warn",
    )
    return Service("prometheus", command, port, _local(port, "/-/ready"), wave=0)


def _console(plan: StackPlan, folder: StackFolder) -> Service:
    port = plan.ports["console"]
    command = _mgoe(
        *("console", "serve", "--state", folder.root, "--evidence", f"http://{HOST}:{plan.ports['evidence']}"),
        *("--gateway", folder.gateway, "--open", "--port", port),
        *(("--registry", plan.registry) if plan.registry is not None else ()),
    )
    return Service("console", command, port, _local(port, "/health/ready"), wave=0)
