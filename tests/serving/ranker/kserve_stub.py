"""A host that answers at once, or refuses as told, so that the transports can be tested by themselves."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

import numpy as np
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from model.data.schema import Feature
from serving.ranker.kserve_model import RankerModel, RankerRepository
from serving.ranker.kserve_rest import RestOptions, rest_app
from serving.ranker.metrics import RankerMetrics
from serving.ranker.ranker import Description
from serving.ranker.request import RankAnswer, RankRequest
from serving.ranker.settings import Limits, RankerSettings

DIGEST = "0123456789abcdef" * 4
TASKS = ("click", "like")
FEATURES = (
    Feature(name="tab", of="context", kind="sparse", column="tab"),
    Feature(name="seen", of="context", kind="multi", column="seen"),
    Feature(name="battery", of="context", kind="dense", column="battery"),
)


class StubRanker:
    digest = DIGEST
    tasks = TASKS
    context_features = FEATURES

    def describe(self) -> Description:
        names = tuple(feature.name for feature in FEATURES)
        return Description(
            DIGEST, "mmoe", TASKS, {"click": 1.0}, names, 10, 20, "candidate", {"500": "eager"}, {}, {}, {}
        )


@dataclass
class StubHost:
    """Scores item k with (k + 1) / 10 for the first task and half of it for the second."""

    ready: bool = True
    why_not_ready: str | None = None
    error: Exception | None = None
    """Raised by `rank` and by `swap`."""
    requests: list[RankRequest] = field(default_factory=list)
    deadlines: list[float | None] = field(default_factory=list)
    swapped: list[str] = field(default_factory=list)
    ranker: StubRanker = field(default_factory=StubRanker)

    def swap(self, source: str) -> str:
        self.swapped.append(source)
        if self.error is not None:
            raise self.error
        return DIGEST

    async def rank(self, request: RankRequest, deadline_s: float | None = None) -> RankAnswer:
        self.requests.append(request)
        self.deadlines.append(deadline_s)
        if self.error is not None:
            raise self.error
        first_N = (np.arange(len(request.items), dtype=np.float32) + 1) / np.float32(10)
        probability_NT = np.stack([first_N, first_N / np.float32(2)], axis=1)
        score_N = probability_NT.sum(axis=1, dtype=np.float32)
        order_N = np.argsort(-score_N, kind="stable").astype(np.int32)
        return RankAnswer(
            DIGEST, TASKS, probability_NT, score_N, order_N, str(uuid.uuid4()), "candidate", request.request_id
        )

    def drain(self, timeout_s: float = 10.0) -> bool:
        return True


def stub_repository(host: StubHost, metrics: RankerMetrics, limits: Limits | None = None) -> RankerRepository:
    settings = RankerSettings(arm="candidate", limits=limits or Limits())
    return RankerRepository(RankerModel("mgoe", "/bundle", host, settings, metrics))


def stub_app(
    host: StubHost, limits: Limits | None = None, *, reload_by_api: bool = False, in_flight: int = 512
) -> ASGIApp:
    metrics = RankerMetrics(CollectorRegistry())
    options = RestOptions(metrics.registry, deadline_s=1.0, in_flight=in_flight, reload_by_api=reload_by_api)
    return rest_app(stub_repository(host, metrics, limits), options)
