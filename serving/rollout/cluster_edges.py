"""What surrounds a rollout in a cluster: the driver of its type, the evidence, Prometheus."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx
from kubernetes import client

from serving.rollout.asked_evidence import AskedEvidence
from serving.rollout.driver import Driver
from serving.rollout.drivers.absent import AbsentDriver
from serving.rollout.drivers.gateway import GatewayDriver
from serving.rollout.drivers.inference_service import InferenceService
from serving.rollout.drivers.kserve_knative import KServeKnativeDriver
from serving.rollout.drivers.kserve_standard import KServeStandardDriver
from serving.rollout.drivers.ownership import Ownership
from serving.rollout.evidence_measures import EvidenceMeasures
from serving.rollout.judgement import Naming
from serving.rollout.measures import Models
from serving.rollout.prometheus import PrometheusGuardrails
from serving.rollout.reconcile import Edges
from serving.rollout.spec import ModelRolloutSpec
from serving.rollout.store import Store, Stored


@dataclass(frozen=True)
class ClusterEdges:
    """Makes the edges of every rollout of a cluster."""

    api: client.ApiClient
    store: Store
    evidence: AskedEvidence
    models: Models
    http: httpx.AsyncClient
    """For agents and rankers."""
    prometheus: httpx.AsyncClient
    gateway: str
    """Name of the gateway of rollouts that name none."""
    _measures: dict[tuple[str, str | None], EvidenceMeasures] = field(default_factory=dict)

    def __call__(self, read: Stored, spec: ModelRolloutSpec) -> Edges:
        """Measures are kept by rollout and selector: they know what is registered."""
        selector = self._selector(read, spec)
        measures = self._measures.setdefault(
            (read.uid, selector),
            EvidenceMeasures(self.evidence, read.identity, PrometheusGuardrails(self.prometheus, selector)),
        )
        return Edges(driver=self._driver(read, spec), measures=measures, models=self.models)

    def _selector(self, read: Stored, spec: ModelRolloutSpec) -> str | None:
        """The candidate's clusters in the metrics that the gateway's agents hand out; None: KServe splits."""
        if spec.driver.type != "gateway":
            return None
        agents = f"{spec.driver.gateway or self.gateway}-agents"
        return f'envoy_cluster_name=~"candidate(-grpc)?",namespace="{read.key.namespace}",service="{agents}"'

    def _driver(self, read: Stored, spec: ModelRolloutSpec) -> Driver:
        ownership, wanted = Ownership(read, self.store), spec.driver
        if wanted.type == "gateway" and wanted.services is not None:
            return GatewayDriver(
                api=self.api,
                http=self.http,
                namespace=read.key.namespace,
                gateway=wanted.gateway or self.gateway,
                services={"baseline": wanted.services.baseline, "candidate": wanted.services.candidate},
                naming=Naming.of(spec, read.identity),
                ownership=ownership,
            )
        if wanted.inference_service is not None:
            service = InferenceService(self.api, read.key.namespace, wanted.inference_service, ownership)
            made = KServeStandardDriver if wanted.type == "kserve-standard" else KServeKnativeDriver
            return made(self.api, self.http, read.key.namespace, service)
        return AbsentDriver(f"driver {wanted.type} is for one machine (`mgoe rollout controller`)")
