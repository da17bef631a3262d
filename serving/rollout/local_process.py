"""`mgoe rollout controller`: the loop over the rollouts of this machine, as one process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from model.errors import Fault, UserError
from serving.evidence.engine import open_engine
from serving.evidence.migration import require_current
from serving.gateway.folder import GatewayFolder
from serving.gateway.live import LiveSplit
from serving.rollout.asked_evidence import AskedEvidence
from serving.rollout.controller import Controller
from serving.rollout.controller_lock import only_one
from serving.rollout.drivers.local import Named, named_rankers
from serving.rollout.envoy_guardrails import EnvoyGuardrails
from serving.rollout.evidence_store import TIMEOUT_S, DatabaseEvidence, EvidenceStore, HttpEvidence
from serving.rollout.fence import Alone
from serving.rollout.local_edges import LocalEdges
from serving.rollout.prometheus import PrometheusGuardrails
from serving.rollout.reconcile import Reconciler
from serving.rollout.registry_models import models_of
from serving.rollout.sqlite_store import SqliteStore
from serving.rollout.store import Key
from serving.rollout.telemetry import Telemetry, WatchedStore
from serving.rollout.telemetry_server import serving
from serving.rollout.timekeeper import Timekeeper

log = logging.getLogger(__name__)

PEEK_S = 0.5
"""Between two looks at whether a person has written: nobody tells a process of another's write into a file."""


@dataclass(frozen=True)
class LocalSettings:
    """Where everything is."""

    store: Path
    gateway: Path
    evidence: str
    """http(s)://HOST:PORT of the service, or the address of its database."""
    token: str | None = None
    prometheus: str | None = None
    registry: str | None = None
    rankers: Path | None = None
    interval_s: float = 5.0
    port: int | None = None
    """Of metrics and health on loopback; None: not served."""


def run(settings: LocalSettings) -> None:
    """Until SIGTERM or SIGINT; a look that has begun is ended. Raises UserError for settings that do not fit."""
    named = _named(settings.rankers)
    evidence = evidence_at(settings.evidence, settings.token)
    with only_one(settings.store):
        asyncio.run(_run(settings, named, evidence))


async def _run(settings: LocalSettings, named: Named, evidence: EvidenceStore) -> None:
    telemetry = Telemetry()
    store = WatchedStore(SqliteStore(settings.store), telemetry)
    live = LiveSplit(GatewayFolder(settings.gateway.absolute()))
    clocks: defaultdict[Key, Timekeeper] = defaultdict(Timekeeper)
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        queries = None
        if settings.prometheus is not None:
            prometheus = await stack.enter_async_context(httpx.AsyncClient(base_url=settings.prometheus))
            queries = PrometheusGuardrails(prometheus, None)
        edges = LocalEdges(
            store=store,
            live=live,
            evidence=AskedEvidence(evidence),
            guardrails=EnvoyGuardrails(lambda: live.admin().statistics(), queries),
            models=models_of(settings.registry),
            client=client,
            rankers=named,
        )
        controller = Controller(
            store,
            Reconciler(store, Alone(), edges, lambda key: clocks[key].read()),
            interval_s=settings.interval_s,
            told=telemetry.looked,
            turned=telemetry.leading,
        )
        if settings.port is not None:
            port = stack.enter_context(serving(telemetry, "127.0.0.1", settings.port))
            log.info("metrics on http://127.0.0.1:%d/metrics", port)
        log.info(
            "rollouts of %s, gateway in %s, looked at every %g s", settings.store, settings.gateway, settings.interval_s
        )
        async with stopping() as stop:
            peeking = asyncio.create_task(_peek(settings.store, controller, stop))
            await controller.run(stop)
            await peeking


async def _peek(path: Path, controller: Controller, stop: asyncio.Event) -> None:
    """Wakes the controller where a spec has changed, so that a person need not wait for the interval."""
    database = SqliteStore(path)
    seen: dict[str, tuple[int, bool]] = {}
    while not stop.is_set():
        try:
            found = await asyncio.to_thread(database.generations)
        except Fault as error:
            log.warning("%s", error)
            found = seen
        for name in found.keys() | seen.keys():
            if found.get(name) != seen.get(name):
                controller.wake(database.key(name))
        seen = found
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), PEEK_S)


def evidence_at(address: str, token: str | None) -> EvidenceStore:
    """The way to the evidence. Raises UserError for an address that is none, Fault for a database that is not there."""
    if address.startswith(("http://", "https://")):
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return HttpEvidence(httpx.Client(base_url=address, headers=headers))
    engine = open_engine(address, answer_s=TIMEOUT_S)
    require_current(engine)
    return DatabaseEvidence(engine, time.time)


@contextlib.asynccontextmanager
async def stopping() -> AsyncIterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _named(path: Path | None) -> Named:
    if path is None:
        return {}
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"rankers {path}: {' '.join(str(error).split())}") from error
    return named_rankers(document, f"rankers {path}")
