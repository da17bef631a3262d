"""The process of the store: HTTP, and beside it the clockwork (windows that close, snapshots, retention, the log)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from sqlalchemy import Engine

from model.errors import Fault, MgoeError
from serving.evidence import experiment_store
from serving.evidence.app import Background, make_app
from serving.evidence.engine import open_engine, reading
from serving.evidence.event import SECOND
from serving.evidence.limits import Limits
from serving.evidence.log_reader import follow
from serving.evidence.maturity import settle
from serving.evidence.migration import migrate, require_current
from serving.evidence.readout import snapshot
from serving.evidence.retention import prune
from serving.evidence.service import Service
from serving.evidence.telemetry import Telemetry
from serving.evidence.tokens import Tokens

log = logging.getLogger("serving.evidence.server")

DAY_S = 86_400.0


@dataclass(frozen=True)
class ServerSettings:
    """How the store is reached, and what it does by itself."""

    database: str
    tokens: Tokens
    address: str = "127.0.0.1"
    port: int = 8090
    """0: any free port; the log says which."""
    migrates: bool = False
    """Whether it brings the database to its revision at the start; without, an older one is refused."""
    access_log: Path | None = None
    """The gateway's access log to follow."""
    settle_s: float = 30.0
    """How often windows that have closed are counted; a read-out does it too."""
    snapshot_s: float = 3600.0
    """How often the evidence is kept for its course over time; 0: never."""
    retention_s: float = 0.0
    """How long raw events are kept; 0: for ever."""
    limits: Limits = field(default_factory=Limits)


def run(settings: ServerSettings) -> None:
    """Serves until SIGTERM or SIGINT; what was accepted is written first. Raises Fault where a port cannot be bound."""
    engine = open_engine(settings.database)
    if settings.migrates:
        migrate(engine)
    require_current(engine)
    telemetry = Telemetry()
    background = _background(engine, settings, telemetry)
    app = make_app(Service(engine, settings.tokens, settings.limits, telemetry), background)
    config = uvicorn.Config(
        app,
        host=settings.address,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=20,
        server_header=False,
    )
    try:
        sock = config.bind_socket()
    except SystemExit:  # uvicorn's way to say that it cannot
        raise Fault(f"{settings.address}:{settings.port}: the port cannot be bound") from None
    sock.listen(config.backlog)  # whoever reads the line may call
    log.info("listening on http %s:%d", *sock.getsockname()[:2])
    uvicorn.Server(config).run(sockets=[sock])
    engine.dispose()


def _background(engine: Engine, settings: ServerSettings, telemetry: Telemetry) -> Sequence[Background]:
    def settle_all(name: str) -> None:
        settle(engine, name, round(time.time() * SECOND))

    def snapshot_all(name: str) -> None:
        snapshot(engine, name, round(time.time() * SECOND))

    def prune_all(name: str) -> None:
        prune(engine, name, round((time.time() - settings.retention_s) * SECOND))

    work = [_every(settings.settle_s, engine, settle_all)]
    if settings.snapshot_s:
        work.append(_every(settings.snapshot_s, engine, snapshot_all))
    if settings.retention_s:
        work.append(_every(min(DAY_S, settings.retention_s), engine, prune_all))
    if settings.access_log is not None:
        work.append(_follower(engine, settings.access_log, settings.limits, telemetry))
    return work


def _every(seconds: float, engine: Engine, work: Callable[[str], None]) -> Background:
    """Does the work for each experiment, again and again; a fault is logged, and tried again the next time."""

    def once() -> None:
        with reading(engine) as connection:
            names = experiment_store.names(connection)
        for name in names:
            work(name)

    async def forever() -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await asyncio.to_thread(once)
            except MgoeError as error:
                log.warning("%s", error)

    return forever


def _follower(engine: Engine, path: Path, limits: Limits, telemetry: Telemetry) -> Background:
    async def forever() -> None:
        while True:
            try:
                read = await asyncio.to_thread(follow, engine, path, limits, telemetry)
            except MgoeError as error:
                log.warning("%s", error)
                read = 0
            await asyncio.sleep(0 if read else 1)

    return forever
