"""The chart's values as models; values.schema.json is rendered from them, so that a typo is refused with a sentence."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, StringConstraints

from helm.values_gateway import Gateway
from helm.values_monitoring import Monitoring
from helm.values_part import (
    Address,
    Budget,
    ExistingSecret,
    ObjectName,
    Objects,
    OwnLabels,
    Part,
    Port,
    Prefix,
    ServiceName,
    Values,
)
from helm.values_storage import MLflow, ObjectStore, PostgreSQL


class ImageValues(Values):
    registry: Annotated[str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9.:/-]*[a-z0-9])?$")]
    """Host of our images, as registry.example.org; empty: the cluster's default."""
    repository: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9/._-]*$")]
    """Folder of our images in the registry."""
    tag: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{0,128}$")]
    """Tag of our images; empty: the chart's appVersion."""
    pullPolicy: Literal["Always", "IfNotPresent", "Never"]
    """When an image is fetched."""
    pullSecrets: list[ObjectName]
    """Names of Secrets with the registry's credentials."""


class Crd(Values):
    install: bool
    """Whether the chart brings the CRD, and updates it at each upgrade."""
    keep: bool
    """Whether the CRD, and with it every rollout, stays at `helm uninstall`."""


class Operator(Part):
    enabled: bool
    """Whether the operator runs."""
    replicas: Annotated[int, Field(ge=1, le=5)]
    """One leads, the others stand by."""
    clusterWide: bool
    """Rollouts of all namespaces (a ClusterRole), or of the release's alone."""
    gateways: list[ServiceName]
    """Further gateways whose split it may write, beside the release's own."""
    kserve: bool
    """Whether it may change InferenceServices, for the drivers kserve-standard and kserve-knative."""
    scaling: bool
    """Whether it may set replicas of the arms' Deployments, for spec.capacity.manage."""
    prometheus: Address
    """Prometheus' HTTP address, where guardrails are asked."""
    registry: Address | Literal[""]
    """MLflow's address, where aliases are resolved; empty: the chart's own where it is enabled."""
    podDisruptionBudget: Budget
    """How many may be taken down at once."""


class Evidence(Part):
    enabled: bool
    """Whether the evidence service runs."""
    replicas: Annotated[int, Field(ge=1, le=100)]
    """Pods."""
    retentionDays: Annotated[float, Field(ge=0)]
    """Days of raw events; 0: for ever."""
    snapshotMinutes: Annotated[float, Field(ge=0)]
    """Minutes between two snapshots; 0: none."""
    database: ExistingSecret
    """Secret with the key url: postgresql://USER:PASSWORD@HOST:5432/NAME."""
    tokens: ExistingSecret
    """Secret with the keys write-token, read-token and admin-token."""
    clients: Objects
    """NetworkPolicy peers that may send outcomes and read evidence; empty: the namespace."""
    podDisruptionBudget: Budget
    """How many may be taken down at once."""


class ConsoleProxy(Values):
    header: Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9-]*)?$")]
    """Header in which a proxy names the person, such as X-Forwarded-User; empty: tokens are asked for."""
    cidrs: list[Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$")]]
    """Addresses of the proxies; from others the header counts for nothing."""
    steerUsers: list[Annotated[str, StringConstraints(min_length=1, max_length=256)]]
    """Names that may steer, * for all; the others may look."""


class Console(Part):
    enabled: bool
    """Whether the console runs."""
    replicas: Annotated[int, Field(ge=1, le=10)]
    """Pods."""
    tokens: ExistingSecret
    """Secret with the keys tokens (lines ROLE TOKEN [NAME], roles view and steer) and key (32 bytes or more)."""
    database: ExistingSecret
    """Secret with the key url of a database and role of its own; empty: the chart's PostgreSQL gets them."""
    proxy: ConsoleProxy
    """Instead of tokens: a proxy in front that knows who it is."""
    hosts: list[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9*]([A-Za-z0-9.:-]*[A-Za-z0-9])?$")]]
    """Names by which browsers call it, besides localhost and the service's."""
    clients: Objects
    """NetworkPolicy peers that may open it; empty: the namespace."""


class Runtimes(Values):
    kserve: bool
    """The ServingRuntime mgoe-kserve; needs KServe's CRDs."""
    torchserve: bool
    """The ServingRuntime mgoe-torchserve; needs KServe's CRDs."""


class ApiServer(Values):
    cidr: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$")]
    """Addresses of the API server."""
    ports: Annotated[list[Port], Field(min_length=1)]
    """Its ports, before and behind its service."""


class NetworkPolicy(Values):
    enabled: bool
    """Whether pods take and make only the connections that they need."""
    apiServer: ApiServer
    """Where the API server is."""


class ChartValues(Values):
    """Values of the chart mgoe."""

    global_: dict[str, JsonValue] | None = Field(default=None, alias="global")
    """Helm's own, where this chart is a part of another."""
    nameOverride: Prefix
    """Instead of the chart's name in names and labels."""
    fullnameOverride: Prefix
    """Beginning of all names."""
    commonLabels: OwnLabels
    """Labels of every object; those of app.kubernetes.io and helm.sh are the chart's."""
    image: ImageValues
    """Our images."""
    crd: Crd
    """CustomResourceDefinition ModelRollout."""
    operator: Operator
    """Carries rollouts out."""
    gateway: Gateway
    """Envoy, which splits the traffic."""
    evidence: Evidence
    """Takes in exposures and outcomes."""
    console: Console
    """Page for people."""
    postgresql: PostgreSQL
    """A database to begin with."""
    objectStore: ObjectStore
    """An S3 store to begin with."""
    mlflow: MLflow
    """Registry of models."""
    runtimes: Runtimes
    """ServingRuntimes for KServe."""
    monitoring: Monitoring
    """Prometheus and Grafana."""
    networkPolicy: NetworkPolicy
    """Who may talk to whom."""


def schema() -> dict[str, Any]:
    """JSON Schema of the values."""
    found = ChartValues.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_stripped(found)}


def rendered() -> str:
    """values.schema.json."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def _stripped(node: Any) -> Any:
    """Without pydantic's titles and defaults: values.yaml has the defaults."""
    if isinstance(node, list):
        return [_stripped(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        key: _stripped(value)
        for key, value in node.items()
        if not (key == "default" and value is None) and not (key == "title" and isinstance(value, str))
    }
