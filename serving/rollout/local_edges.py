"""What surrounds a rollout on one machine: the gateway's folder, the evidence, its own Envoy's statistics."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from serving.gateway.live import LiveSplit
from serving.rollout.asked_evidence import AskedEvidence
from serving.rollout.driver import Driver
from serving.rollout.drivers.absent import AbsentDriver
from serving.rollout.drivers.local import LocalDriver, Named
from serving.rollout.drivers.ownership import Ownership
from serving.rollout.drivers.served_digests import ServedDigests
from serving.rollout.evidence_measures import EvidenceMeasures, GuardrailSource
from serving.rollout.judgement import Naming
from serving.rollout.measures import Models
from serving.rollout.reconcile import Edges
from serving.rollout.spec import ModelRolloutSpec
from serving.rollout.store import Store, Stored


@dataclass(frozen=True)
class LocalEdges:
    """Makes the edges of every rollout of this machine."""

    store: Store
    live: LiveSplit
    evidence: AskedEvidence
    guardrails: GuardrailSource
    models: Models
    client: httpx.AsyncClient
    rankers: Named = field(default_factory=dict)
    _measures: dict[str, EvidenceMeasures] = field(default_factory=dict)

    def __call__(self, read: Stored, spec: ModelRolloutSpec) -> Edges:
        """Measures are kept by rollout: they know what is registered."""
        measures = self._measures.setdefault(read.uid, EvidenceMeasures(self.evidence, read.identity, self.guardrails))
        return Edges(driver=self._driver(read, spec), measures=measures, models=self.models)

    def _driver(self, read: Stored, spec: ModelRolloutSpec) -> Driver:
        if spec.driver.type != "local" or spec.driver.services is None:
            return AbsentDriver(f"driver {spec.driver.type} needs a cluster; on one machine write driver.type: local")
        return LocalDriver(
            live=self.live,
            naming=Naming.of(spec, read.identity),
            ownership=Ownership(read, self.store),
            digests=ServedDigests(self.client),
            services={"baseline": spec.driver.services.baseline, "candidate": spec.driver.services.candidate},
            rankers=self.rankers,
        )
