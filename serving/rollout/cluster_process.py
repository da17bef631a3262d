"""`mgoe rollout operator`: the loop over the rollouts of a cluster, as one of several processes of which one leads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import uuid
from collections import defaultdict
from dataclasses import dataclass

import httpx
import kopf

from serving.rollout.asked_evidence import AskedEvidence
from serving.rollout.cluster_client import cluster_client
from serving.rollout.cluster_edges import ClusterEdges
from serving.rollout.controller import Controller
from serving.rollout.evidence_store import EvidenceStore
from serving.rollout.kubernetes_store import KubernetesStore
from serving.rollout.lease import LeaseKeeper, LeaseSettings
from serving.rollout.local_process import evidence_at, stopping
from serving.rollout.operator import ears, operate
from serving.rollout.reconcile import Reconciler
from serving.rollout.registry_models import models_of
from serving.rollout.store import Key
from serving.rollout.telemetry import Telemetry, WatchedStore
from serving.rollout.telemetry_server import serving
from serving.rollout.timekeeper import Timekeeper

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OperatorSettings:
    """Where everything is. The chart gives these by the environment."""

    namespace: str
    """The operator's own: its Lease is there, and its rollouts unless it is cluster-wide."""
    evidence: str
    prometheus: str
    gateway: str = "mgoe-gateway"
    cluster_wide: bool = False
    registry: str | None = None
    token: str | None = None
    interval_s: float = 5.0
    address: str = "127.0.0.1"
    port: int = 9903


def run(settings: OperatorSettings) -> None:
    """Until SIGTERM or SIGINT; a look that has begun is ended, then the Lease is handed over. Raises UserError."""
    evidence = evidence_at(settings.evidence, settings.token)
    asyncio.run(_run(settings, evidence))


async def _run(settings: OperatorSettings, evidence: EvidenceStore) -> None:
    telemetry = Telemetry()
    clocks: defaultdict[Key, Timekeeper] = defaultdict(Timekeeper)
    async with contextlib.AsyncExitStack() as stack:
        api = stack.enter_context(cluster_client())
        identity = f"{os.environ.get('MGOE_POD') or 'operator'}-{uuid.uuid4().hex[:8]}"
        keeper = LeaseKeeper(api, LeaseSettings(settings.namespace, identity))
        watched = None if settings.cluster_wide else settings.namespace
        store = WatchedStore(KubernetesStore(api, watched), telemetry)
        http = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        prometheus = await stack.enter_async_context(httpx.AsyncClient(base_url=settings.prometheus))
        edges = ClusterEdges(
            api=api,
            store=store,
            evidence=AskedEvidence(evidence),
            models=models_of(settings.registry),
            http=http,
            prometheus=prometheus,
            gateway=settings.gateway,
        )
        controller = Controller(
            store,
            Reconciler(store, keeper.held, edges, lambda key: clocks[key].read()),
            leads=lambda: keeper.held.holds,
            interval_s=settings.interval_s,
            told=telemetry.looked,
            turned=telemetry.leading,
        )
        port = stack.enter_context(serving(telemetry, settings.address, settings.port))
        log.info("%s: rollouts of %s, metrics on port %d", identity, watched or "all namespaces", port)
        async with stopping() as stop:
            registry = ears(controller)
            kopf.on.login(registry=registry)(kopf.login_via_client)
            namespaces = () if watched is None else (watched,)
            await operate(controller, keeper, stop, namespaces=namespaces, registry=registry)
