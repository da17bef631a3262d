"""The chart's values of the gateway."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from helm.values_part import (
    Budget,
    Image,
    Labels,
    ObjectName,
    Objects,
    Placed,
    Port,
    Quantity,
    Resources,
    ServiceName,
    Values,
)
from serving.gateway import config as gateway


class GatewayServices(Values):
    baseline: ServiceName
    """Service of the rankers that answer before there is a rollout."""
    candidate: ServiceName
    """Service of the other arm; at 0 % until a rollout says otherwise."""


class Rankers(Values):
    http: Port
    """Port of HTTP at the rankers; behind a headless service the pods' own."""
    grpc: Annotated[int, Field(ge=0, le=65535)]
    """Port of gRPC; 0: HTTP alone."""


class GatewaySettings(Values):
    timeouts: gateway.Timeouts | None = None
    """Timeouts, as serving/gateway/config.py has them."""
    retries: gateway.Retries | None = None
    """Retries, as serving/gateway/config.py has them."""
    health: gateway.Health | None = None
    """Health checks, as serving/gateway/config.py has them."""
    outliers: gateway.Outliers | None = None
    """Outlier ejection, as serving/gateway/config.py has it."""
    limits: gateway.Limits | None = None
    """Circuit breakers, as serving/gateway/config.py has them."""


class GatewayService(Values):
    type: Literal["ClusterIP", "NodePort", "LoadBalancer"]
    """How it is reached. It speaks plain HTTP and whoever reaches it may force arms: put TLS and access before it."""
    port: Port
    """Port of the service."""
    annotations: Labels
    """Annotations of the service, for load balancers."""


class Termination(Values):
    settle: Annotated[int, Field(ge=0, le=60)]
    """Seconds in which a pod that goes still takes requests."""
    drain: Annotated[int, Field(ge=0, le=300)]
    """Seconds after that in which active requests may end."""


class Envoy(Values):
    image: Image
    """Envoy 1.40, with a tag or a digest."""
    resources: Resources
    """Resources of Envoy."""


class AgentValues(Values):
    resources: Resources
    """Resources of the agent beside Envoy."""


class Autoscaling(Values):
    enabled: bool
    """Whether a HorizontalPodAutoscaler sets the replicas."""
    minReplicas: Annotated[int, Field(ge=1)]
    """Least replicas."""
    maxReplicas: Annotated[int, Field(ge=1)]
    """Most replicas."""
    targetCPU: Annotated[int, Field(ge=1, le=100)]
    """Percent of Envoy's requested processor time that is aimed at."""


class Gateway(Placed):
    enabled: bool
    """Whether the gateway runs."""
    replicas: Annotated[int, Field(ge=1, le=1000)]
    """Pods, where no autoscaler sets them."""
    services: GatewayServices
    """Rankers before the first rollout."""
    rankers: Rankers
    """Ports of the rankers."""
    settings: GatewaySettings
    """Further settings of the gateway."""
    workers: Annotated[int, Field(ge=1, le=128)]
    """Threads of Envoy."""
    service: GatewayService
    """Where clients send ranking requests."""
    termination: Termination
    """How a pod ends."""
    spool: Quantity
    """Space for the access log and Envoy's files; the agent keeps at most 320 MiB of log."""
    clients: Objects
    """NetworkPolicy peers that may call the gateway; empty: everybody."""
    operators: Objects
    """NetworkPolicy peers of operators of other releases, which ask the agents what is routed."""
    envoy: Envoy
    """Envoy's container."""
    agent: AgentValues
    """The agent's container."""
    autoscaling: Autoscaling
    """HorizontalPodAutoscaler."""
    podDisruptionBudget: Budget
    """How many may be taken down at once."""
    priorityClassName: ObjectName
    """PriorityClass of its pods; empty: the cluster's default."""
