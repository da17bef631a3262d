"""The chart's values as models; values.schema.json is rendered from them, so that a typo is refused with a sentence."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from serving.gateway import config as gateway

Port = Annotated[int, Field(ge=1, le=65535)]
Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]
ObjectName = Annotated[str, StringConstraints(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", max_length=253)]
ServiceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
Prefix = Annotated[str, StringConstraints(pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$", max_length=40)]
Image = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9./:_-]*[:@][A-Za-z0-9_.:-]+$")]
Address = Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$")]
Labels = dict[str, str]
OwnLabels = Annotated[
    Labels, Field(json_schema_extra={"propertyNames": {"not": {"pattern": r"^(app\.kubernetes\.io|helm\.sh)/"}}})
]
Objects = list[dict[str, JsonValue]]


class Values(BaseModel):
    """A part of the values; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Limits(Values):
    cpu: Quantity | None = None
    """Processor time: 500m is half a core."""
    memory: Quantity | None = None
    """Memory: 256Mi."""


class Resources(Values):
    requests: Limits | None = None
    """What a pod is sure to get."""
    limits: Limits | None = None
    """What a pod never gets more than."""


class Budget(Values):
    enabled: bool
    """Whether there is a PodDisruptionBudget."""
    maxUnavailable: int | Annotated[str, StringConstraints(pattern=r"^[0-9]{1,3}%$")]
    """Pods that may be taken down at once on purpose: a number or a percentage."""


class Placed(Values):
    nodeSelector: Labels
    """Labels that a node must have."""
    tolerations: Objects
    """Taints that the pods put up with."""


class Part(Placed):
    resources: Resources
    """Resources of its container."""
    priorityClassName: ObjectName
    """PriorityClass of its pods; empty: the cluster's default."""


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


class ExistingSecret(Values):
    existingSecret: ObjectName
    """Name of a Secret of the namespace; empty: the chart's own."""


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


class Console(Part):
    enabled: bool
    """Whether the console runs; its command does not exist yet."""
    replicas: Annotated[int, Field(ge=1, le=10)]
    """Pods."""
    clients: Objects
    """NetworkPolicy peers that may open it; empty: the namespace."""


class Storage(Values):
    size: Quantity
    """Size of the volume."""
    className: ObjectName
    """StorageClass; empty: the cluster's default."""


class PostgreSQL(Placed):
    enabled: bool
    """Whether the chart runs a PostgreSQL: one pod, no replication, no backups."""
    image: Image
    """PostgreSQL 15 or newer, with a tag or a digest."""
    existingSecret: ObjectName
    """Secret with the keys password, url and mlflow-url; empty: made at the first install."""
    storage: Storage
    """Its volume."""
    resources: Resources
    """Resources of its container."""


class StoreImages(Values):
    seaweedfs: Image
    """Image of SeaweedFS."""
    minio: Image
    """Image of MinIO."""


class ObjectStore(Placed):
    enabled: bool
    """Whether the chart runs an S3 store: one pod."""
    kind: Literal["seaweedfs", "minio"]
    """Which one."""
    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    """Bucket of bundles, for KServe's storage-config."""
    images: StoreImages
    """Images of the two."""
    existingSecret: ObjectName
    """Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, S3_ENDPOINT_URL (and s3.json); empty: made by the chart."""
    storageConfig: bool
    """Whether KServe's Secret storage-config is made for it."""
    clients: Objects
    """NetworkPolicy peers that may read and write; empty: the namespace."""
    storage: Storage
    """Its volume."""
    resources: Resources
    """Resources of its container."""


class MLflow(Placed):
    enabled: bool
    """Whether the chart runs MLflow."""
    existingSecret: ObjectName
    """Secret with the key url: postgresql+psycopg://USER:PASSWORD@HOST:5432/NAME."""
    artifactRoot: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+://.+$")]
    """Where clients put artifacts."""
    allowedHosts: list[str]
    """Further host names by which it is called."""
    clients: Objects
    """NetworkPolicy peers that may call it; empty: the namespace."""
    resources: Resources
    """Resources of its container."""


class Runtimes(Values):
    kserve: bool
    """The ServingRuntime mgoe-kserve; needs KServe's CRDs."""
    torchserve: bool
    """The ServingRuntime mgoe-torchserve; needs KServe's CRDs."""


class ServiceMonitor(Values):
    enabled: bool
    """Whether Prometheus is told where to scrape; needs the Prometheus operator's CRDs."""
    interval: Annotated[str, StringConstraints(pattern=r"^[0-9]+(ms|s|m)$")]
    """Between two scrapes. A breach must be seen within ten seconds: keep it at 5s or below."""
    labels: Labels
    """Labels by which Prometheus chooses monitors."""


class PrometheusRule(Values):
    enabled: bool
    """Whether there are alerts; needs the Prometheus operator's CRDs."""
    labels: Labels
    """Labels by which Prometheus chooses rules."""


class Dashboard(Values):
    enabled: bool
    """Whether there is a dashboard."""
    labels: Labels
    """Labels by which Grafana's sidecar finds it."""


class Monitoring(Values):
    serviceMonitor: ServiceMonitor
    """What is scraped."""
    prometheusRule: PrometheusRule
    """Alerts."""
    dashboard: Dashboard
    """Grafana's dashboard."""
    namespaceSelector: Labels
    """Labels of the namespace whose Prometheus NetworkPolicies let in."""


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
