"""The process of the console."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from model.errors import Fault
from serving.console.app import make_app
from serving.console.audit import Audit
from serving.console.course import Courses, DatabaseSeries, HttpSeries
from serving.console.door import Door, OpenDoor, ProxyDoor, TokenDoor
from serving.console.latency import EnvoyLatency, Latencies, LatencySource, PrometheusLatency
from serving.console.lineage import Lineages
from serving.console.registered import RegisteredVersions, asked_at
from serving.console.rollouts import Rollouts
from serving.console.schema import metadata
from serving.console.session import Sessions, key_of
from serving.console.shield import LOOPBACK
from serving.console.site import Site
from serving.console.split_record import SplitRecord
from serving.console.tokens import read_tokens
from serving.console.watch import Watch
from serving.evidence.engine import open_engine
from serving.gateway.folder import GatewayFolder
from serving.gateway.live import LiveSplit
from serving.listening import bound, listen
from serving.rollout.desk import Desk

log = logging.getLogger("serving.console.server")

_ENVOY_S = 2.0
"""For an answer of Envoy's admin page."""


@dataclass(frozen=True)
class Entrance:
    """Who is let in: exactly one way."""

    tokens: Path | None = None
    header: str | None = None
    proxies: tuple[str, ...] = ()
    steerers: tuple[str, ...] = ()

    def door(self, sessions: Sessions) -> Door:
        """Raises UserError."""
        if self.tokens is not None:
            return TokenDoor(read_tokens(self.tokens), sessions)
        if self.header is not None:
            return ProxyDoor(self.header, self.proxies, self.steerers)
        return OpenDoor()


@dataclass(frozen=True)
class ConsoleSettings:
    """What the console reads, and how it is reached."""

    place: str
    """Whose rollouts these are, in words."""
    database: str
    """Of audit and splits."""
    entrance: Entrance
    address: str = "127.0.0.1"
    port: int = 8091
    hosts: tuple[str, ...] = ()
    """Names by which it may be called, besides those of this machine."""
    evidence: str | None = None
    evidence_token: str | None = None
    gateway: Path | None = None
    prometheus: str | None = None
    registry: str | None = None
    """MLflow's address, for the versions behind the bundles."""
    registry_user: tuple[str, str] | None = None
    key: Path | None = None
    makes_key: bool = False


def run(desk: Desk, settings: ConsoleSettings) -> None:
    """Serves until SIGTERM or SIGINT. Raises UserError for settings that do not fit, Fault for a port that is taken."""
    site = make_site(desk, settings)
    hosts = LOOPBACK | {settings.address} | set(settings.hosts)
    app = make_app(site, hosts)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # the peer's own address is what a trusted proxy is known by
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    sock = bound(settings.address, settings.port)
    listen(sock)
    log.info("listening on http %s:%d", *sock.getsockname()[:2])
    watch = Watch(site.rollouts, site.splits, site.latencies)
    watch.start()
    # uvicorn ends in order at SIGTERM, and then sends it again to whoever had it before.
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        uvicorn.Server(config).run(sockets=[sock])
    finally:
        watch.stop()


def make_site(desk: Desk, settings: ConsoleSettings, now: Callable[[], float] = time.time) -> Site:
    """The parts of a console. now: unix seconds. Raises UserError."""
    sessions = Sessions(key_of(settings.key, make=settings.makes_key))
    engine = prepared(settings.database)
    source = _latency_source(settings)
    return Site(
        rollouts=Rollouts(desk),
        audit=Audit(engine, now),
        splits=SplitRecord(engine),
        sessions=sessions,
        door=settings.entrance.door(sessions),
        place=settings.place,
        courses=_courses(settings, now),
        latencies=Latencies(source, now) if source is not None else None,
        lineages=Lineages(_versions(settings)),
        now=now,
    )


def prepared(database: str) -> Engine:
    """An engine with the console's tables. Raises UserError for an address that is none, Fault."""
    engine = open_engine(database, connections=5)
    try:
        metadata.create_all(engine)
    except SQLAlchemyError as error:
        raise Fault(f"console database: {' '.join(str(error).split())[:200]}") from error
    return engine


def _courses(settings: ConsoleSettings, now: Callable[[], float]) -> Courses | None:
    address = settings.evidence
    if address is None:
        return None
    if not address.startswith(("http://", "https://")):
        return Courses(DatabaseSeries(open_engine(address, connections=5), now))
    token = settings.evidence_token
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return Courses(HttpSeries(httpx.Client(base_url=address, headers=headers)))


def _versions(settings: ConsoleSettings) -> RegisteredVersions | None:
    if settings.registry is None:
        return None
    return RegisteredVersions(asked_at(settings.registry, settings.registry_user))


def _latency_source(settings: ConsoleSettings) -> LatencySource | None:
    if settings.prometheus is not None:
        return PrometheusLatency(httpx.Client(base_url=settings.prometheus))
    if settings.gateway is not None:
        gateway = LiveSplit(GatewayFolder(settings.gateway))
        return EnvoyLatency(lambda: gateway.admin(_ENVOY_S).statistics())
    return None
