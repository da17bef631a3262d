"""`mgoe console`: the web page to watch and steer rollouts."""
# ruff: noqa: PLR0917  # typer reads the signature

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from model.errors import UserError
from model.registry.address import check_address

app = typer.Typer(
    help="A web page to watch and steer rollouts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _group() -> None:
    """A web page to watch and steer rollouts."""


@app.command("serve")
def serve_command(
    state: Annotated[
        Path | None, typer.Option("--state", help="Folder of `mgoe up`: its rollouts and gateway.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--store", envvar="MGOE_ROLLOUTS", help="The local controller's database.")
    ] = None,
    context: Annotated[str | None, typer.Option("--context", help="A cluster of the kubeconfig.")] = None,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Of a cluster.")] = None,
    evidence: Annotated[
        str | None,
        typer.Option(
            "--evidence",
            envvar="MGOE_EVIDENCE",
            help="The evidence service (http://HOST:PORT; MGOE_EVIDENCE_READ_TOKEN is its token), or its database.",
        ),
    ] = None,
    gateway: Annotated[
        Path | None, typer.Option("--gateway", help="Folder of a local gateway, for latency per arm.")
    ] = None,
    prometheus: Annotated[
        str | None, typer.Option("--prometheus", envvar="MGOE_PROMETHEUS", help="Prometheus, for latency per arm.")
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option("--registry", envvar="MGOE_REGISTRY", help="MLflow's address, for the versions behind bundles."),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            "--database", envvar="MGOE_CONSOLE_DATABASE", help="Of the audit. [default: console.db beside the rollouts]"
        ),
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option("--tokens", help="File of lines `ROLE TOKEN [NAME]`; roles view and steer.")
    ] = None,
    header: Annotated[
        str | None, typer.Option("--trusted-header", help="Header in which a proxy names the person.")
    ] = None,
    proxies: Annotated[
        list[str] | None, typer.Option("--trusted-proxy", help="CIDR of proxies that may set it; repeat for more.")
    ] = None,
    steerers: Annotated[
        list[str] | None, typer.Option("--steer-user", help="Whom the proxy names and who may steer; `*`: all.")
    ] = None,
    everybody: Annotated[bool, typer.Option("--open", help="Everybody may steer; on loopback alone.")] = False,
    hosts: Annotated[
        list[str] | None, typer.Option("--host", help="Name by which it may be called, besides localhost.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", help="File of 32 bytes or more that signs sessions. [default: made anew]")
    ] = None,
    address: Annotated[
        str, typer.Option("--address", help="Address to listen on; 0.0.0.0 in a container.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any free port.")] = 8091,
) -> None:
    """Serve the console until SIGTERM or Ctrl-C."""
    from serving.console.server import ConsoleSettings, Entrance, run  # noqa: PLC0415
    from serving.console.shield import LOOPBACK  # noqa: PLC0415
    from serving.rollout.place import DEFAULT_STORE, desk_of  # noqa: PLC0415

    if registry is not None:
        check_address(registry)  # it stands in links on every page
    _require_one_door(tokens, header, everybody=everybody)
    if everybody and address not in LOOPBACK:
        raise UserError(f"--open: on loopback alone, not on {address}; give --tokens FILE")
    if state is not None and (store, context, namespace) != (None, None, None):
        raise UserError("--state names the rollouts: leave --store, --context and -n out")
    if state is not None and not state.is_dir():
        raise UserError(f"state folder {state} does not exist; `mgoe up --state {state}` makes it")
    clustered = context is not None or namespace is not None
    file = state / "rollouts.db" if state is not None else store or DEFAULT_STORE
    beside = Path("runs") if clustered else file.parent
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    _audit_to_stdout()
    desk = desk_of(file, context, namespace, new=state is not None)
    if database is None:
        beside.mkdir(parents=True, exist_ok=True)
    run(
        desk,
        ConsoleSettings(
            place=f"namespace {namespace or 'default'}" if clustered else str(file.absolute()),
            database=database or f"sqlite:///{(beside / 'console.db').absolute()}",
            entrance=Entrance(tokens, header, tuple(proxies or ()), tuple(steerers or ())),
            address=address,
            port=port,
            hosts=tuple(hosts or ()),
            evidence=evidence,
            evidence_token=os.environ.get("MGOE_EVIDENCE_READ_TOKEN"),
            gateway=gateway or (state / "gateway" if state is not None else None),
            prometheus=prometheus,
            registry=registry,
            registry_user=_registry_user(),
            key=key or (state / "console.key" if state is not None else None),
            makes_key=key is None and state is not None,
        ),
    )


def _registry_user() -> tuple[str, str] | None:
    """MLflow's own names for it."""
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    return None if user is None else (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))


def _audit_to_stdout() -> None:
    """Records are JSON lines alone on standard output; everything else goes to standard error."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    audit = logging.getLogger("mgoe.audit")
    audit.addHandler(handler)
    audit.propagate = False


def _require_one_door(tokens: Path | None, header: str | None, *, everybody: bool) -> None:
    if (tokens is not None) + (header is not None) + everybody != 1:
        raise UserError(
            "who may come in? give --tokens FILE, --trusted-header NAME with --trusted-proxy CIDR, or --open on "
            "loopback: exactly one of them"
        )
