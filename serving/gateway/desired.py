"""The split that a driver wants of the gateways of a cluster: `split.json` of one ConfigMap (decision 12)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from model.data.refused_field import refusal
from model.errors import UserError
from serving.gateway.assignment import BUCKETS
from serving.gateway.config import Endpoint, Experiment, GatewayConfig, Name, Side
from serving.gateway.split import Split

KEY = "split.json"
"""Of the ConfigMap's data."""
NOBODY = "none"
"""Experiment of a gateway that was not told of any."""

ServiceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
Note = Annotated[str, StringConstraints(max_length=512)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Services(_Part):
    """Kubernetes services of the arms, in the gateway's namespace."""

    baseline: ServiceName
    candidate: ServiceName


class DesiredSplit(_Part):
    """What every replica is to route by."""

    version: Literal[1] = 1
    experiment: Name
    salt: Name
    stratum: int = Field(ge=1, le=10**9)
    """Phase of the log and of the evidence."""
    weight: int = Field(ge=0, le=BUCKETS)
    """Of the candidate, basis points."""
    mirror: int = Field(default=0, ge=0, le=BUCKETS)
    services: Services
    run: Note | None = None
    """The driver's own word, handed back."""
    owner: Note | None = None
    """As run."""

    @property
    def split(self) -> Split:
        """What is to be read back from Envoy."""
        return Split(self.experiment, self.salt, self.stratum, self.weight, self.mirror)

    def config(self, base: GatewayConfig, namespace: str) -> GatewayConfig:
        """The gateway's own settings with this experiment and these rankers; ports are those of the base."""
        return base.model_copy(
            update={
                "experiment": Experiment(id=self.experiment, salt=self.salt),
                "baseline": _side(base.baseline, self.services.baseline, namespace),
                "candidate": _side(base.candidate, self.services.candidate, namespace),
            }
        )


def _side(base: Side, service: str, namespace: str) -> Side:
    ports = base.endpoints[0]
    return Side(endpoints=(Endpoint(host=f"{service}.{namespace}.svc", http=ports.http, grpc=ports.grpc),))


def parse_desired(text: str, source: str) -> DesiredSplit:
    """A split from its JSON. Raises UserError with one line that names the field; `source` is what it calls it."""
    try:
        return DesiredSplit.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{source}: {where + ': ' if where else ''}{refusal(first)}") from None
