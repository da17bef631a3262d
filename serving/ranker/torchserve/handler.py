"""TorchServe's side of the ranker: one worker loads one bundle and answers batches of calls.

A call's body decides its protocol: `inputs` is V2, `instances` is V1, a ranking request as such is TorchServe's own
/predictions. A wrong call gets its 4xx and sentence alone; the others of its batch are scored.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from serving.ranker.open_inference import (
    Json,
    answer_object,
    encode,
    v1_answer,
    v1_requests,
    v2_answer,
    v2_request,
    v2_wanted,
)
from serving.ranker.ranker import Ranker
from serving.ranker.refusal import NotReady, Refusal, RequestError
from serving.ranker.request import RankAnswer, RankRequest
from serving.ranker.settings import RankerSettings
from serving.ranker.torchserve.readiness import note_failure
from serving.ranker.torchserve.worker_metrics import WorkerMetrics
from serving.ranker.validation import parse_json, parse_request

_PHRASES = {400: "Bad Request", 413: "Content Too Large", 422: "Unprocessable Content"}


@dataclass(frozen=True)
class Call:
    """One HTTP call that was understood."""

    requests: tuple[RankRequest, ...]
    protocol: str
    """`v1`, `v2` or `plain`."""
    wanted: tuple[str, ...] = ()
    """Outputs of a V2 call."""


class RankerHandler:
    """Made anew in every worker process; TorchServe calls it from one thread."""

    def __init__(self) -> None:
        self._ranker: Ranker | None = None
        self._metrics: WorkerMetrics | None = None
        self._model = ""

    def initialize(self, context: Any) -> None:
        """Loads the bundle that model-config.yaml names.

        Raises RuntimeError, which TorchServe logs with its sentence and tries again; `readiness` tells it meanwhile.
        """
        _quiet()
        config = context.model_yaml_config
        try:
            settings = RankerSettings.model_validate(config.get("ranker") or {})
            ranker = Ranker.load(_place(str(config["bundle"]), context), settings)
        except (NotReady, ValidationError) as error:
            note_failure(str(error).replace("\n", "; "))
            raise RuntimeError(str(error)) from None
        note_failure(None)
        self._model = context.model_name
        self._metrics = WorkerMetrics(context.metrics, settings.arm or "", ranker.digest[:12])
        self._ranker = ranker

    def handle(self, data: Sequence[Mapping[str, Any]], context: Any) -> list[bytes]:
        """One body for every call, in order; statuses and content types are set in the context."""
        if self._ranker is None or self._metrics is None:
            raise RuntimeError("handle was called before initialize")
        started = time.perf_counter()
        calls = [self._read(self._ranker, row) for row in data]
        requests = [request for call in calls if isinstance(call, Call) for request in call.requests]
        answers = iter(self._ranker.rank_many(requests) if requests else [])
        bodies = []
        answered: list[RankAnswer] = []
        for place, call in enumerate(calls):
            context.set_response_content_type(place, "application/json")
            if isinstance(call, Refusal):
                context.set_response_status(call.status, _PHRASES.get(call.status, "Refused"), place)
                self._metrics.refused(call.reason)
                bodies.append(encode({"error": str(call)}))
                continue
            mine = [next(answers) for _ in call.requests]
            answered += mine
            call_id = call.requests[0].request_id or context.get_request_id(place)
            bodies.append(encode(self._document(call, mine, call_id)))
        self._metrics.answered(answered, time.perf_counter() - started)
        return bodies

    @staticmethod
    def _read(ranker: Ranker, row: Mapping[str, Any]) -> Call | Refusal:
        try:
            return read_call(ranker, row)
        except Refusal as refusal:
            return refusal

    def _document(self, call: Call, answers: list[RankAnswer], call_id: str) -> Json:
        if call.protocol == "v1":
            return v1_answer(answers)
        if call.protocol == "v2":
            return v2_answer(answers[0], self._model, call_id, call.wanted)
        return answer_object(answers[0])


def read_call(ranker: Ranker, row: Mapping[str, Any]) -> Call:
    """row: what TorchServe makes of a call: the body under `body`, or a form's parts by name. Raises RequestError."""
    raw = row.get("body", row.get("data"))
    if raw is None:
        raise RequestError("the call has no body; send JSON with the content type application/json")
    limits = ranker.settings.limits
    body = parse_json(bytes(raw), limits) if isinstance(raw, bytes | bytearray) else raw

    def parsed(value: object) -> RankRequest:
        request = parse_request(value, limits, ranker.tasks, ranker.context_features)
        ranker.check(request)
        return request

    if isinstance(body, dict) and "inputs" in body:
        request = parsed(v2_request(body, ranker.context_features, limits))
        return Call((request,), "v2", v2_wanted(body))
    if isinstance(body, dict) and "instances" in body:
        return Call(tuple(map(parsed, v1_requests(body, candidates=limits.candidates))), "v1")
    return Call((parsed(body),), "plain")


def _place(bundle: str, context: Any) -> str:
    """A folder name is one inside the archive; anything with a scheme is fetched."""
    if "://" in bundle:
        return bundle
    return str(Path(context.system_properties["model_dir"]) / bundle)


def _quiet() -> None:
    """TorchServe logs two lines a request at level INFO and parses each; metrics travel the same way and stay."""
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("ts.metrics.caching_metric").setLevel(logging.INFO)
