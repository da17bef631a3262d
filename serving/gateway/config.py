"""The gateway's configuration as a person writes it; every field but the experiment and the arms has a default."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from model.data.refused_field import refusal
from model.errors import UserError
from serving.gateway.assignment import SALT

Port = Annotated[int, Field(ge=1, le=65535)]
AnyPort = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Name = Annotated[str, StringConstraints(pattern=f"^{SALT}$")]
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:_-]{1,253}$")]


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Endpoint(_Config):
    """One ranker. A host name stands for all addresses that it resolves to (a headless service)."""

    host: Host
    http: Port
    """Port of HTTP; readiness is asked here, for gRPC too."""
    grpc: Port | None = None
    """Port of gRPC; None: this ranker speaks HTTP alone."""

    @property
    def is_address(self) -> bool:
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


class Side(_Config):
    """The rankers of one arm."""

    endpoints: Annotated[tuple[Endpoint, ...], Field(min_length=1)]

    @property
    def grpc(self) -> bool:
        return all(endpoint.grpc is not None for endpoint in self.endpoints)


class Experiment(_Config):
    """What is split. A new experiment has a new id, and a new salt unless it must keep every unit's bucket."""

    id: Name
    salt: Name


class Listener(_Config):
    host: Host = "127.0.0.1"
    """0.0.0.0 or :: in a container."""
    port: AnyPort = 8000
    """0: any free port."""


class Admin(_Config):
    """Envoy's admin page and `/stats/prometheus`. It can stop the process, so it is on loopback and nowhere else."""

    port: AnyPort = 0
    """0: any free port."""
    partners: Annotated[tuple[AnyPort, ...], Field(max_length=15)] = ()
    """Ports of further Envoys of this machine, which share the listener's port (SO_REUSEPORT): while one of them is
    started again, the others take all connections."""

    def of(self, number: int) -> int:
        """Port of the Envoy of that number, from 1."""
        return (self.port, *self.partners)[number - 1]


class Timeouts(_Config):
    request: Seconds = 1.0
    """From the whole request to the whole answer, retries included; the ranker hears of it and gives up at the same
    time."""
    attempt: Seconds | None = None
    """Of one attempt; a slower one is retried on another ranker of the arm. None: attempts have no limit of their own,
    so that a slow arm is not given twice the load."""
    connect: Seconds = 0.25
    headers: Seconds = 5.0
    """Until a client has sent its headers."""
    body: Seconds = 10.0
    """Until a client has sent its request."""
    client_idle: Seconds = 300.0
    ranker_idle: Seconds = 60.0
    """Below the ranker's own 65 s, so that it is never the ranker that closes an idle connection first."""


class Retries(_Config):
    """Ranking changes nothing, so an attempt that brought no answer may be made again, within the arm."""

    attempts: Annotated[int, Field(ge=0, le=3)] = 1
    """Beyond the first."""
    budget_percent: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 50.0
    """Most of an arm's active requests that may be retries (at least 10), so that a failing arm is not drowned. Half is
    what the loss of one of two rankers takes."""


class Health(_Config):
    """Active health checks."""

    path: Annotated[str, StringConstraints(pattern=r"^/[!-~]{0,255}$")] = "/v2/health/ready"
    interval: Seconds = 1.0
    timeout: Seconds = 1.0
    unhealthy: Count = 2
    """Failed checks until a ranker gets no more requests; a 503 counts at once."""
    healthy: Count = 1


class Outliers(_Config):
    """Passive health: rankers whose answers fail are left alone for a while."""

    failures: Count = 5
    """In a row: 5xx, or connections that fail."""
    interval: Seconds = 1.0
    ejection: Seconds = 10.0
    """The first time; longer each time after."""
    most_percent: Annotated[int, Field(ge=0, le=100)] = 50
    """Most of an arm's rankers that may be left alone at once. Below 100 an arm's last ranker is never ejected."""


class Limits(_Config):
    """Circuit breakers of each arm and transport; beyond them, 503 at once."""

    connections: Count = 1024
    pending: Count = 256
    requests: Count = 1024
    clients: Count = 10_000
    """Connections of clients to the gateway."""
    body_bytes: Annotated[int, Field(ge=1024, le=2**30)] = 4 * 2**20
    """Of a request that can still be retried; the ranker's own limit."""


class GatewayConfig(_Config):
    """All of it."""

    version: Literal[1] = 1
    experiment: Experiment
    baseline: Side
    candidate: Side
    listener: Listener = Listener()
    admin: Admin = Admin()
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    health: Health = Health()
    outliers: Outliers = Outliers()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _transports_agree(self) -> GatewayConfig:
        mixed = {endpoint.grpc is None for side in (self.baseline, self.candidate) for endpoint in side.endpoints}
        if len(mixed) > 1:
            raise ValueError("give a grpc port to every endpoint of both arms, or to none: an arm is one thing to all")
        return self

    @property
    def grpc(self) -> bool:
        return self.baseline.grpc


def parse_config(text: str, source: str) -> GatewayConfig:
    """A configuration from YAML. Raises UserError with one line that names the field; `source` is what it calls it."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{source} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{source} must be a mapping of fields, not {type(content).__name__}")
    try:
        return GatewayConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{source}: {where + ': ' if where else ''}{refusal(first)}") from None


def read_config(path: Path) -> GatewayConfig:
    """A configuration file. Raises UserError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"gateway configuration {path} cannot be read: {error}") from None
    return parse_config(text, str(path))
