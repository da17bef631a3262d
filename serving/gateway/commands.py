"""`mgoe gateway`: Envoy's configuration, its process, its live weights, and the assignment."""
# ruff: noqa: PLR0917  # typer reads the signature

from __future__ import annotations

import contextlib
import json
import logging
import signal
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from model.errors import Fault, UserError
from serving.gateway import assignment, vectors
from serving.gateway.config import read_config
from serving.gateway.envoy import Envoy, validate
from serving.gateway.folder import GatewayFolder, render
from serving.gateway.live import LiveSplit
from serving.gateway.split import Split

if TYPE_CHECKING:
    from serving.gateway.exposure_sender import ExposureSender

app = typer.Typer(help="Split traffic between two arms with Envoy.", no_args_is_help=True, add_completion=False)

Folder = Annotated[Path, typer.Option("--folder", help="Folder of the gateway: its files, its log, its split.")]
ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The gateway's configuration (YAML).")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of a table.")]


@app.command("render")
def render_command(
    config: ConfigFile,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write to; the paths in the files are below it.")],
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Let Envoy check it, where it is installed.")
    ] = True,
) -> None:
    """Write Envoy's bootstrap, routes and clusters, and start nothing."""
    wanted = read_config(config)
    if check:
        validate(wanted)
    folder = GatewayFolder(out.absolute())
    split = folder.prepare(wanted)
    for name in render(wanted, split, folder.root):
        typer.echo(folder.root / name)


@app.command("run")
def run_command(
    config: ConfigFile,
    folder: Folder = Path("runs/gateway"),
    settle: Annotated[
        float, typer.Option("--settle", min=0, help="Seconds of SIGTERM in which requests are taken.")
    ] = 0.5,
    drain: Annotated[
        float, typer.Option("--drain", min=0, help="Seconds after that for active requests to end.")
    ] = 10.0,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Threads of Envoy.")] = 2,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C, then drain it."""
    envoy = Envoy(
        GatewayFolder(folder.absolute()),
        read_config(config),
        settle_s=settle,
        drain_s=drain,
        workers=workers,
        tied=True,
    )
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.suppress(KeyboardInterrupt), envoy:
        split = LiveSplit(envoy.folder).weights()
        sys.stderr.write(
            f"gateway listens on {envoy.config.listener.host}:{envoy.port}, admin on {envoy.admin.address}; "
            f"{split.experiment} phase {split.phase}, candidate {split.candidate_weight / 100:g} %\n"
        )
        raise Fault(f"Envoy ended by itself with {envoy.wait()}; {envoy.folder.envoy_log} says why")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@app.command("agent")
def agent_command(
    config: ConfigFile,
    name: Annotated[str, typer.Option("--name", help="The gateway's ConfigMap, in the pod's namespace.")],
    folder: Folder = Path("runs/gateway"),
    address: Annotated[str, typer.Option("--address", help="Address to listen on; 0.0.0.0 in a pod.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free port.")] = 9902,
    evidence: Annotated[
        str | None, typer.Option("--evidence", help="Address of the evidence service; without it no exposure is sent.")
    ] = None,
    token: Annotated[Path | None, typer.Option("--token", help="File with its token of the role write.")] = None,
    account: Annotated[
        Path | None,
        typer.Option("--account", help="Folder of the service account. [default: where Kubernetes puts it in a pod]"),
    ] = None,
    settle: Annotated[
        float, typer.Option("--settle", min=0, help="Seconds of SIGTERM in which requests are taken.")
    ] = 5,
    drain: Annotated[float, typer.Option("--drain", min=0, help="Seconds after that for active requests to end.")] = 10,
) -> None:
    """Beside Envoy in a pod: follow the wanted split, tell the routed one, send exposures to the evidence."""
    from serving.gateway.agent import Agent  # noqa: PLC0415
    from serving.gateway.agent_server import AgentServerSettings, run  # noqa: PLC0415
    from serving.gateway.config_map import ACCOUNT, ConfigMapClient  # noqa: PLC0415

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    live = LiveSplit(GatewayFolder(folder.absolute()))
    sender = None if evidence is None else _sender(live, evidence, token)
    wanted = ConfigMapClient.of_pod(name, account or ACCOUNT)
    agent = Agent(live, read_config(config), wanted, sender, socket.gethostname())
    run(agent, AgentServerSettings(address, port, settle, drain))


def _sender(live: LiveSplit, address: str, token: Path | None) -> ExposureSender:
    import httpx  # noqa: PLC0415

    from serving.gateway.exposure_sender import ExposureSender  # noqa: PLC0415
    from serving.gateway.log_spool import LogSpool  # noqa: PLC0415

    if not address.startswith(("http://", "https://")):
        raise UserError(f"--evidence {address}: write http://HOST:PORT or https://HOST:PORT")
    spool = LogSpool(live.folder, reopen=lambda: live.admin().reopen_logs())
    return ExposureSender(spool, httpx.Client(base_url=address, timeout=10.0), token)


@app.command("weights")
def weights_command(folder: Folder = Path("runs/gateway"), as_json: AsJson = False) -> None:
    """Show the split that Envoy routes by, and how many rankers each arm has."""
    live = LiveSplit(GatewayFolder(folder.absolute()))
    split, hosts = live.weights(), live.hosts()
    if as_json:
        typer.echo(json.dumps(asdict(split) | {"hosts": {arm: asdict(found) for arm, found in hosts.items()}}))
        return
    table = Table(title=f"{split.experiment}, phase {split.phase}, salt {split.salt}")
    for name in ("arm", "weight", "healthy rankers"):
        table.add_column(name, justify="left" if name == "arm" else "right")
    shares = {"baseline": assignment.BUCKETS - split.candidate_weight, "candidate": split.candidate_weight}
    for arm, found in hosts.items():
        table.add_row(arm, f"{shares[arm] / 100:g} %", f"{found.healthy} of {found.known}")
    console = Console()
    console.print(table)
    if split.mirror:
        console.print(f"{split.mirror / 100:g} % of what the baseline answers is copied to the candidate")


@app.command("set-weight", context_settings={"ignore_unknown_options": True})  # -1 is a number, and refused as one
def set_weight_command(
    percent: Annotated[float, typer.Argument(help="Share of the candidate, 0 to 100.")],
    folder: Folder = Path("runs/gateway"),
    mirror: Annotated[
        float | None, typer.Option("--mirror", help="Percent of the baseline's requests to copy to the candidate.")
    ] = None,
    phase: Annotated[int | None, typer.Option("--phase", help="Refuse unless the gateway is in this phase.")] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.01, help="Seconds until Envoy must have it.")] = 10.0,
) -> None:
    """Change the candidate's share live; returns when Envoy routes by it."""
    live = LiveSplit(GatewayFolder(folder.absolute()))
    copied = None if mirror is None else _basis_points(mirror, "--mirror")
    split = live.set_weights(_basis_points(percent, "PERCENT"), mirror=copied, expected_phase=phase, timeout_s=timeout)
    typer.echo(_said(split))


@app.command("assign")
def assign_command(
    units: Annotated[list[str], typer.Argument(help="Unit ids.")],
    salt: Annotated[str, typer.Option("--salt", help="Salt of the experiment.")],
    percent: Annotated[float, typer.Option("--percent", help="Share of the candidate, 0 to 100.")],
) -> None:
    """Say which bucket and arm each unit gets, one line each: unit, bucket, arm, with tabs between."""
    weight = _basis_points(percent, "--percent")
    for unit in units:
        bucket = assignment.bucket(salt, unit)
        typer.echo(f"{unit}\t{bucket}\t{assignment.arm(bucket, weight)}")


@app.command("vectors")
def vectors_command(
    measure: Annotated[
        bool, typer.Option("--measure", help="Ask a real Envoy for every bucket anew (a minute) and print the file.")
    ] = False,
) -> None:
    """Print the published test vectors of the assignment."""
    typer.echo(vectors.text(vectors.measured()) if measure else vectors.FILE.read_text(encoding="utf-8"), nl=False)


def _basis_points(percent: float, name: str) -> int:
    if not 0 <= percent <= 100:
        raise UserError(f"{name} {percent:g}: write 0 to 100")
    weight = round(percent * 100)
    if abs(weight - percent * 100) > 1e-9:  # what binary fractions are off by
        raise UserError(f"{name} {percent:g}: write a percentage with at most two decimals")
    return weight


def _said(split: Split) -> str:
    shares = f"candidate {split.candidate_weight / 100:g} %, mirror {split.mirror / 100:g} %"
    return f"{split.experiment} phase {split.phase}: {shares}"
