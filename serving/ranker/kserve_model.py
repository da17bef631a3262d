"""The ranker as a KServe model: its readiness, its metadata, its place in the model repository."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from typing import Any, Protocol

from kserve import Model, ModelRepository  # type: ignore[import-untyped]
from kserve.errors import ModelNotFound  # type: ignore[import-untyped]
from kserve.metrics import PREDICT_HIST_TIME, get_labels  # type: ignore[import-untyped]
from kserve.protocol.dataplane import DataPlane  # type: ignore[import-untyped]

from model.data.schema import Feature
from serving.ranker.metrics import RankerMetrics
from serving.ranker.open_inference import Json, v2_metadata
from serving.ranker.ranker import Description
from serving.ranker.refusal import Draining, Refusal, RequestError
from serving.ranker.request import RankAnswer, RankRequest
from serving.ranker.settings import Limits, RankerSettings
from serving.ranker.validation import parse_request


class CurrentRanker(Protocol):
    """What a model server reads of a Ranker."""

    @property
    def digest(self) -> str: ...
    @property
    def tasks(self) -> tuple[str, ...]: ...
    @property
    def context_features(self) -> tuple[Feature, ...]: ...
    def describe(self) -> Description: ...


class Host(Protocol):
    """What a model server needs of a RankerHost."""

    @property
    def ready(self) -> bool: ...
    @property
    def why_not_ready(self) -> str | None: ...
    @property
    def ranker(self) -> CurrentRanker: ...
    def swap(self, source: str) -> str: ...
    async def rank(self, request: RankRequest, deadline_s: float | None = None) -> RankAnswer: ...
    def drain(self, timeout_s: float = 10.0) -> bool: ...


class Unknown(Refusal):
    """The path names a model or a version that is not served here."""

    status = 404
    reason = "unknown_model"


class RankerModel(Model):  # type: ignore[misc]  # kserve has no types
    """One ranker under one name. `bundle` is where it is loaded from, at the start and again on `reload`."""

    def __init__(
        self, name: str, bundle: str, host: Host, settings: RankerSettings, metrics: RankerMetrics | None = None
    ) -> None:
        super().__init__(name)
        self.bundle = bundle
        self.host = host
        self.arm = settings.arm
        self.limits: Limits = settings.limits
        self.draining = False
        self._tried = False
        self._loading: asyncio.Future[str] | None = None
        self._following: asyncio.Future[str] | None = None
        self._work: Future[str] | None = None
        self._metrics = metrics
        self._predict_seconds = PREDICT_HIST_TIME.labels(**get_labels(name))

    async def healthy(self) -> bool:
        """Whether a verified bundle serves, and the server is not going away."""
        return self.host.ready and not self.draining

    @property
    def why_not_ready(self) -> str:
        if self.draining:
            return "the server is shutting down"
        if not self._tried:
            return f"bundle {self.bundle} is being loaded"
        return self.host.why_not_ready or "no bundle is loaded"

    def load(self) -> bool:
        """Of kserve's own data plane, which calls it where the model is not ready."""
        raise Draining(self.why_not_ready)

    async def reload(self) -> str:
        """Loads `bundle` again and swaps it in; returns its digest. Raises NotReady, and the current one serves on.

        Calls that come while one loads share the one load that follows it, which sees what was there when they came.
        """
        if self._following is None:
            self._following = asyncio.ensure_future(self._reload_after(self._loading))
        return await asyncio.shield(self._following)

    async def _reload_after(self, loading: asyncio.Future[str] | None) -> str:
        if loading is not None:
            await asyncio.wait([loading])
        self._loading, self._following = self._following, None
        try:
            self._work = _started(partial(self.host.swap, self.bundle))
            return await asyncio.wrap_future(self._work)
        finally:
            self._tried = True

    @property
    def loads(self) -> bool:
        """Whether a thread loads now, whoever still waits for it."""
        return self._work is not None and not self._work.done()

    def parse(self, value: object) -> RankRequest:
        """The request in a JSON value. Raises RequestError, or Draining where no bundle serves."""
        ranker = self.current
        return parse_request(value, self.limits, ranker.tasks, ranker.context_features)

    @property
    def current(self) -> CurrentRanker:
        """The ranker that serves now. Raises Draining where there is none."""
        if not self.host.ready:
            raise Draining(self.why_not_ready)
        return self.host.ranker

    async def rank(self, requests: Sequence[RankRequest], deadline_s: float | None) -> list[RankAnswer]:
        """Answers in order; the requests are queued together, so they may be scored together."""
        rows = sum(len(request.items) for request in requests)
        if rows > self.limits.candidates:
            raise RequestError(
                f"the requests hold {rows} candidates together; one call takes up to {self.limits.candidates}", 413
            )
        begin = time.perf_counter()
        try:
            if len(requests) == 1:
                return [await self.host.rank(requests[0], deadline_s)]
            return await self._rank_together(requests, deadline_s)
        finally:
            self._predict_seconds.observe(time.perf_counter() - begin)

    async def _rank_together(self, requests: Sequence[RankRequest], deadline_s: float | None) -> list[RankAnswer]:
        waiting = [asyncio.ensure_future(self.host.rank(request, deadline_s)) for request in requests]
        try:
            return list(await asyncio.gather(*waiting))
        finally:
            for each in waiting:
                each.cancel()

    def count_refusal(self, refusal: Refusal) -> None:
        """Counts what the host did not: requests that never reach it."""
        if self._metrics is not None and not refusal.counted:
            self._metrics.refusals.labels(arm=self.arm or "", reason=refusal.reason).inc()

    def metadata(self) -> Json:
        """v2 metadata, and what else the bundle says of itself under `properties`."""
        ranker = self.current
        properties = {name: value for name, value in asdict(ranker.describe()).items() if value is not None}
        found = v2_metadata(self.name, ranker.digest, ranker.tasks, ranker.context_features)
        return found | {"properties": properties}

    async def get_input_types(self) -> list[Json]:
        inputs: list[Json] = self.metadata()["inputs"]
        return inputs

    async def get_output_types(self) -> list[Json]:
        outputs: list[Json] = self.metadata()["outputs"]
        return outputs


def _started(work: Callable[[], str]) -> Future[str]:
    """Runs in a thread that does not keep the process alive: a load may take a minute, and a server be told to stop.

    Whoever waits for it may give up, which does not end the thread: so the future cannot be cancelled.
    """
    future: Future[str] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # raised where the future is awaited
            future.set_exception(error)

    threading.Thread(target=run, name="load", daemon=True).start()
    return future


class RankerRepository(ModelRepository):  # type: ignore[misc]
    """Holds the one model of this server."""

    def __init__(self, model: RankerModel) -> None:
        super().__init__()
        self.model = model
        self.update(model)

    def named(self, name: str, version: str | None = None) -> RankerModel:
        """Raises Unknown where `name` is not here, or a `version` that is neither the digest nor its first 12 signs."""
        if name != self.model.name:
            raise Unknown(f"model {name[:80]!r} is not here; this server has {self.model.name!r}")
        if version and not (len(version) >= 12 and self.model.current.digest.startswith(version)):
            raise Unknown(f"version {version[:80]!r} is not here; model {name!r} serves {self.model.current.digest}")
        return self.model


class RankerDataPlane(DataPlane):  # type: ignore[misc]
    """kserve's data plane, whose server is ready when its model is."""

    def __init__(self, repository: RankerRepository) -> None:
        super().__init__(repository)
        self._server_name = "mgoe"

    def metadata(self) -> dict[str, Any]:
        """Of the server. kserve's names the repository extension, whose index and unloading are not here."""
        return {**super().metadata(), "extensions": ["binary_tensor_data"]}

    async def ready(self) -> bool:
        return all([await model.healthy() for model in self.model_registry.get_models().values()])

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        model = self.model_registry.get_model(model_name)
        if model is None:
            raise ModelNotFound(model_name)
        return model.metadata()  # type: ignore[no-any-return]
