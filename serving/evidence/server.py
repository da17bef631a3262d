"""The process of the store: HTTP, and beside it the clockwork (windows that close, snapshots, retention, the log)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from sqlalchemy import Engine

from model.errors import Fault, MgoeError
from serving.evidence import experiment_store
from serving.evidence.aggregate_store import read_tallies
from serving.evidence.app import make_app
from serving.evidence.claim import claim
from serving.evidence.engine import open_engine, reading
from serving.evidence.event import SECOND
from serving.evidence.limits import Limits
from serving.evidence.log_reader import follow
from serving.evidence.maturity import settle
from serving.evidence.migration import migrate, require_current
from serving.evidence.retention import prune, shortened
from serving.evidence.series import snapshot
from serving.evidence.service import LOOPBACK, Service
from serving.evidence.telemetry import Telemetry
from serving.evidence.tokens import Tokens
from serving.evidence.work import Work
from serving.experiment.design import DAY_S
from serving.listening import bound, listen

log = logging.getLogger("serving.evidence.server")


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
    access_logs: tuple[Path, ...] = ()
    """The gateway's access logs to follow, one of each Envoy."""
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
    # Without tokens a page in a browser of this machine could write; a name that was made to point here gives it away.
    hosts = LOOPBACK if settings.tokens.everybody else None
    service = Service(engine, settings.tokens, settings.limits, telemetry, hosts)
    app = make_app(service, _works(engine, settings, telemetry))
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=20,
        server_header=False,
    )
    sock = bound(settings.address, settings.port)
    listen(sock)  # whoever reads the line may call
    log.info("listening on http %s:%d", *sock.getsockname()[:2])
    uvicorn.Server(config).run(sockets=[sock])
    engine.dispose()


def _works(engine: Engine, settings: ServerSettings, telemetry: Telemetry) -> Sequence[Work]:
    def settled(name: str) -> None:
        settle(engine, name, _now_us())
        with reading(engine) as connection:
            tallies = read_tallies(connection, experiment_store.read(connection, name))
        for kind in {kind for kind, _ in tallies}:
            telemetry.set_aside(name, kind, sum(count for (each, _), count in tallies.items() if each == kind))

    def kept(name: str) -> None:
        snapshot(engine, name, _now_us())

    def pruned(name: str) -> None:
        now_us = _now_us()
        before_us = now_us - round(settings.retention_s * SECOND)
        if told := shortened(engine, name, before_us, now_us):
            log.warning("%s", told)
        prune(engine, name, before_us)

    works = [Work("settle", settings.settle_s, _each(engine, settled), essential=True)]
    works.append(Work("claim", settings.settle_s, lambda: bool(claim(engine, settings.limits, telemetry))))
    if settings.snapshot_s:
        works.append(Work("snapshot", settings.snapshot_s, _each(engine, kept)))
    if settings.retention_s:
        works.append(Work("prune", min(DAY_S, settings.retention_s), _each(engine, pruned)))
    for number, file in enumerate(settings.access_logs):
        # Not essential: a log that cannot be read must not take the intake over HTTP from everybody; its age is told.
        name = "follow" if number == 0 else f"follow-{number + 1}"
        works.append(Work(name, 1.0, _following(engine, file, settings.limits, telemetry)))
    return works


def _following(engine: Engine, file: Path, limits: Limits, telemetry: Telemetry) -> Callable[[], bool]:
    return lambda: follow(engine, file, limits, telemetry) > 0


def _each(engine: Engine, work: Callable[[str], None]) -> Callable[[], bool]:
    """Does the work for each experiment that has not ended; one that fails does not keep it from the others."""

    def once() -> bool:
        with reading(engine) as connection:
            names = experiment_store.open_names(connection)
        faults: list[MgoeError] = []
        for name in names:
            try:
                work(name)
            except MgoeError as error:
                faults.append(error)
        if faults:
            raise Fault("; ".join(map(str, faults)))
        return False

    return once


def _now_us() -> int:
    return round(time.time() * SECOND)
