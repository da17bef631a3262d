"""`mgoe rollout`: create, watch and steer rollouts of this machine. In a cluster the same fields are kubectl's."""

# ruff: noqa: PLR0917  # typer reads the signature

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.live import Live

from model.errors import UserError
from serving.rollout import steering
from serving.rollout.resource import GROUP, KIND, VERSION
from serving.rollout.sqlite_store import SqliteStore, checked
from serving.rollout.state import TERMINAL
from serving.rollout.status_text import detail, history, overview, status_of

app = typer.Typer(no_args_is_help=True, help="Create, watch and steer rollouts.", pretty_exceptions_enable=False)

Name = Annotated[str, typer.Argument(help="The rollout.", show_default=False)]
Database = Annotated[Path, typer.Option("--store", envvar="MGOE_ROLLOUTS", help="The local controller's database.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")]
DEFAULT = Path("runs/rollouts.db")
WATCH_S = 1.0


@app.command()
def create(
    file: Annotated[Path, typer.Argument(help="A ModelRollout as YAML.", show_default=False)],
    store: Database = DEFAULT,
    dry_run: DryRun = False,
) -> None:
    """Create a rollout from a ModelRollout file, or apply a changed one."""
    name, spec = _document(file)
    if dry_run:
        checked(spec)
        Console().print(f"{name}: {file} is valid; nothing was written", soft_wrap=True)
        return
    database = SqliteStore(store)
    if name in database.names():
        made = database.edit(name, lambda old: steering.applied(old, spec))
        Console().print(f"{name}: applied, generation {made.generation}")
        return
    database.create(name, spec)
    Console().print(f"{name}: created")


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="One rollout; without it, all.")] = None,
    store: Database = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="The stored spec and status.")] = False,
) -> None:
    """Show one rollout, or one line for each."""
    database = _existing(store)
    if name is None:
        Console().print(overview(_all(database)))
        return
    read = database.read(name)
    if as_json:
        typer.echo(json.dumps({"name": name, "spec": read.spec, "status": read.status}, indent=2))
        return
    Console().print(detail(read))


@app.command()
def watch(name: Name, store: Database = DEFAULT) -> None:
    """Follow a rollout until it has ended (Ctrl-C leaves it alone)."""
    database = _existing(store)
    with Live(detail(database.read(name)), console=Console(), refresh_per_second=4) as live:
        while status_of(database.read(name)).phase not in TERMINAL:
            time.sleep(WATCH_S)
            live.update(detail(database.read(name)))


@app.command("history")
def show_history(name: Name, store: Database = DEFAULT) -> None:
    """Every transition with its numbers."""
    database = _existing(store)
    database.read(name)
    Console().print(history(database.events(name)))


@app.command()
def pause(name: Name, store: Database = DEFAULT, dry_run: DryRun = False) -> None:
    """Hold the weight; guardrails still act."""
    _steer(store, name, dry_run, lambda spec, _: steering.paused(spec, True))


@app.command()
def resume(name: Name, store: Database = DEFAULT, dry_run: DryRun = False) -> None:
    """Let the ramp go on."""
    _steer(store, name, dry_run, lambda spec, _: steering.paused(spec, False))


@app.command("set-weight")
def set_weight(
    name: Name,
    weight: Annotated[
        int | None, typer.Argument(help="Percent for the candidate; without it, the ramp's again.")
    ] = None,
    store: Database = DEFAULT,
    dry_run: DryRun = False,
) -> None:
    """Give the candidate a weight of your own in this run; the ramp stands still meanwhile."""
    _steer(store, name, dry_run, lambda spec, status: steering.weighted(spec, status, weight))


@app.command()
def promote(name: Name, store: Database = DEFAULT, dry_run: DryRun = False) -> None:
    """Promote the present run without waiting for a win."""
    _steer(store, name, dry_run, steering.promoted)


@app.command()
def abort(name: Name, store: Database = DEFAULT, dry_run: DryRun = False) -> None:
    """Take the candidate to 0 at once, for good."""
    _steer(store, name, dry_run, lambda spec, _: steering.aborted(spec))


@app.command()
def ack(name: Name, store: Database = DEFAULT, dry_run: DryRun = False) -> None:
    """Acknowledge the open sample ratio alarm."""
    _steer(store, name, dry_run, steering.acknowledged)


@app.command()
def delete(name: Name, store: Database = DEFAULT) -> None:
    """Delete a rollout; an unfinished one goes when all traffic is back on the baseline."""
    _existing(store).delete(name)
    Console().print(f"{name}: deleted as soon as its traffic is back")


@app.command()
def controller(
    evidence: Annotated[
        str,
        typer.Option(
            envvar="MGOE_EVIDENCE", help="The evidence service (http://HOST:PORT), or its database's address."
        ),
    ],
    store: Database = DEFAULT,
    gateway: Annotated[Path, typer.Option(help="The gateway's folder (`mgoe gateway run`).")] = Path("runs/gateway"),
    rankers: Annotated[
        Path | None, typer.Option(help="YAML: endpoints by the names in driver.services. [default: the gateway's own]")
    ] = None,
    prometheus: Annotated[str | None, typer.Option(help="Prometheus' address, for guardrails of type PromQL.")] = None,
    registry: Annotated[
        str | None, typer.Option(envvar="MGOE_REGISTRY", help="MLflow's address, for models by alias.")
    ] = None,
    interval: Annotated[float, typer.Option(min=0.1, max=8, help="Seconds between two looks at a rollout.")] = 5.0,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Of metrics and health, on loopback.")] = None,
) -> None:
    """Move the rollouts of this machine (driver local) until SIGTERM or Ctrl-C."""
    from serving.rollout.local_process import LocalSettings, run  # noqa: PLC0415

    _log()
    token = os.environ.get("MGOE_EVIDENCE_ADMIN_TOKEN")
    run(
        LocalSettings(
            store=store,
            gateway=gateway,
            evidence=evidence,
            token=token,
            prometheus=prometheus,
            registry=registry,
            rankers=rankers,
            interval_s=interval,
            port=port,
        )
    )


@app.command()
def operator(
    evidence: Annotated[
        str,
        typer.Option(
            envvar="MGOE_EVIDENCE_DATABASE", help="The evidence's database, or its service (http://HOST:PORT)."
        ),
    ],
    prometheus: Annotated[str, typer.Option(envvar="MGOE_PROMETHEUS", help="Prometheus' address, for guardrails.")],
    namespace: Annotated[str, typer.Option(envvar="MGOE_NAMESPACE", help="Of the Lease and of the rollouts.")],
    cluster_wide: Annotated[bool, typer.Option(envvar="MGOE_CLUSTER_WIDE", help="Rollouts of all namespaces.")] = False,
    gateway: Annotated[
        str, typer.Option(envvar="MGOE_GATEWAY", help="The gateway of rollouts that name none.")
    ] = "mgoe-gateway",
    registry: Annotated[
        str | None, typer.Option(envvar="MGOE_REGISTRY", help="MLflow's address, for models by alias.")
    ] = None,
    interval: Annotated[float, typer.Option(min=0.1, max=8, help="Seconds between two looks at a rollout.")] = 5.0,
    address: Annotated[
        str | None, typer.Option(help="Of metrics and health. [default: all in a pod, else loopback]")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of metrics and health.")] = 9903,
) -> None:
    """Move the rollouts of a cluster until SIGTERM; of several operators the one with the Lease writes."""
    from serving.rollout.cluster_client import in_pod  # noqa: PLC0415
    from serving.rollout.cluster_process import OperatorSettings, run  # noqa: PLC0415

    _log()
    run(
        OperatorSettings(
            namespace=namespace,
            evidence=evidence,
            prometheus=prometheus,
            gateway=gateway,
            cluster_wide=cluster_wide,
            registry=registry,
            token=os.environ.get("MGOE_EVIDENCE_ADMIN_TOKEN"),
            interval_s=interval,
            address=address or ("0.0.0.0" if in_pod() else "127.0.0.1"),  # noqa: S104  # Kubernetes asks from outside
            port=port,
        )
    )


def _log() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for noisy in ("httpx", "kopf"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _steer(store: Path, name: str, dry_run: bool, change: Callable[[dict[str, Any], Any], dict[str, Any]]) -> None:
    """Write a wish, or say what it would change."""
    database = _existing(store)
    read = database.read(name)
    wished = change(dict(read.spec), status_of(read))
    told = "; ".join(steering.changes(read.spec, checked(wished).to_json()))
    if not dry_run:
        database.edit(name, lambda spec: change(spec, status_of(read)))
    Console().print(f"{name}: {told or 'nothing changes'}{' (dry run)' if dry_run else ''}", soft_wrap=True)


def _existing(store: Path) -> SqliteStore:
    if not store.is_file():
        raise UserError(f"no rollouts here: {store} does not exist (--store names another database)")
    return SqliteStore(store)


def _all(database: SqliteStore) -> tuple[Any, ...]:
    return tuple(database.read(name) for name in database.names())


def _document(file: Path) -> tuple[str, dict[str, Any]]:
    """Name and spec of a ModelRollout file. Raises UserError."""
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{file}: {' '.join(str(error).split())}") from error
    expected = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND}
    if not isinstance(document, dict) or any(document.get(name) != value for name, value in expected.items()):
        raise UserError(f"{file}: a {KIND} of {GROUP}/{VERSION} is expected")
    metadata, spec = document.get("metadata"), document.get("spec")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not isinstance(spec, dict):
        raise UserError(f"{file}: metadata.name and spec are needed")
    return name, spec
