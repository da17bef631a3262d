"""`mgoe rollout controller` and `mgoe rollout operator`: the processes that move rollouts."""

# ruff: noqa: PLR0917  # typer reads the signature

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

import typer

from serving.rollout.place import DEFAULT_STORE, Store


def controller(
    evidence: Annotated[
        str,
        typer.Option(
            envvar="MGOE_EVIDENCE", help="The evidence service (http://HOST:PORT), or its database's address."
        ),
    ],
    store: Store = DEFAULT_STORE,
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
    for noisy in ("httpx", "kopf", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
