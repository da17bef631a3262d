"""HTTP of the KServe model server: Open Inference Protocol v2, V1, health, metadata, metrics, reload."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry, exposition
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp

from serving.ranker.kserve_asgi import Handler, Handlers, OwnPaths, Ranked, Room, read_body
from serving.ranker.kserve_model import RankerDataPlane, RankerModel, RankerRepository
from serving.ranker.kserve_openapi import V1_BODY, V2_BODY
from serving.ranker.kserve_tensors import binary_outputs, with_binary, write_answer
from serving.ranker.open_inference import Json, encode, v1_answer, v1_requests, v2_answer, v2_request, v2_wanted
from serving.ranker.refusal import DeadlinePassed, NotReady, Refusal, RequestError
from serving.ranker.request import RankAnswer
from serving.ranker.validation import parse_json

JSON_LENGTH = "inference-header-content-length"
"""Of the binary tensor data extension: how many bytes of the body are JSON."""
TIMEOUT = "x-envoy-expected-rq-timeout-ms"
"""The gateway's own deadline, which Envoy writes into every request."""
_BODY_SECONDS = 10.0


@dataclass(frozen=True)
class RestOptions:
    registry: CollectorRegistry
    """Of /metrics."""
    deadline_s: float
    """Of a request that brings none, and the longest of one that does."""
    in_flight: int = 512
    """Ranking requests that may be under way, their bodies read or waited for; one more is refused."""
    reload_by_api: bool = False
    """Whether POST /v2/repository/models/NAME/load loads the bundle again."""


def rest_app(repository: RankerRepository, options: RestOptions) -> ASGIApp:
    """The application; it starts and stops nothing.

    Ranking by the model's own paths is a look-up, by other spellings of them Starlette's routes: FastAPI's way to a
    handler costs more than scoring a small request. FastAPI has the same table, describes it, and answers whatever else
    is asked.
    """
    routes = _Routes(repository, options)
    table = routes.table()
    handlers: Handlers = {
        Refusal: _on_refusal(repository.model),
        NotReady: _on_not_ready,
        HTTPException: _on_http_error,
        ClientDisconnect: _on_disconnect,
        Exception: _on_fault,
    }
    described = FastAPI(
        title="mgoe ranker",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        exception_handlers=dict(handlers),
    )
    for path, method, handler, extra in table:
        described.add_api_route(path, handler, methods=[method], openapi_extra=extra, response_class=Response)
    ranking = [Route(path, _endpoint(handler), methods=[method]) for path, method, handler, extra in table if extra]
    app = Starlette(routes=ranking, exception_handlers=dict(handlers))
    app.router.default = described
    name = repository.model.name
    own = {f"/v2/models/{name}/infer": routes.infer, f"/v1/models/{name}:predict": routes.predict}
    return OwnPaths({path: partial(handler, name=name) for path, handler in own.items()}, handlers, app)


def _endpoint(handler: Handler) -> Handler:
    async def endpoint(request: Request) -> Response:
        return await handler(request, **request.path_params)

    return endpoint


class _Routes:
    def __init__(self, repository: RankerRepository, options: RestOptions) -> None:
        self.repository = repository
        self.model = repository.model
        self.options = options
        self.data_plane = RankerDataPlane(repository)
        self._room = Room(options.in_flight)

    def table(self) -> list[tuple[str, str, Handler, Json | None]]:
        """Path, method, handler and what its OpenAPI entry says beside its parameters."""
        model, version = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
        return [
            ("/", "GET", self.live, None),
            ("/metrics", "GET", self.metrics, None),
            ("/v2", "GET", self.server, None),
            ("/v2/health/live", "GET", self.live, None),
            ("/v2/health/ready", "GET", self.ready, None),
            ("/v2/models", "GET", self.models, None),
            (model, "GET", self.metadata, None),
            (version, "GET", self.metadata, None),
            (f"{model}/ready", "GET", self.model_ready, None),
            (f"{version}/ready", "GET", self.model_ready, None),
            (f"{model}/infer", "POST", self.infer, V2_BODY),
            (f"{version}/infer", "POST", self.infer, V2_BODY),
            ("/v2/repository/models/{name}/load", "POST", self.load, None),
            ("/v1/models", "GET", self.models, None),
            ("/v1/models/{name}", "GET", self.model_ready, None),
            ("/v1/models/{name}:predict", "POST", self.predict, V1_BODY),
        ]

    async def live(self) -> Response:
        """Whether the process answers."""
        return _json({"live": True, "status": "alive"})

    async def ready(self) -> Response:
        """Whether a verified bundle serves; 503 says why not."""
        return self._readiness({})

    async def model_ready(self, name: str, version: str | None = None) -> Response:
        """Whether this model serves; 503 says why not."""
        self.repository.named(name, version)
        return self._readiness({"name": name})

    async def server(self) -> Response:
        """Name, version and extensions of the server."""
        return _json(self.data_plane.metadata())

    async def models(self) -> Response:
        """Names of the models."""
        return _json({"models": list(self.repository.get_models())})

    async def metadata(self, name: str, version: str | None = None) -> Response:
        """Inputs, outputs, digest and tasks of the model."""
        return _json(self.repository.named(name, version).metadata())

    async def metrics(self, request: Request) -> Response:
        """Metrics in Prometheus' or OpenMetrics' text."""
        encoder, content_type = exposition.choose_encoder(request.headers.get("accept", ""))
        return Response(encoder(self.options.registry), media_type=content_type)

    async def infer(self, request: Request, name: str, version: str | None = None) -> Response:
        """Ranks the candidates of one user (Open Inference Protocol v2)."""
        model = self.repository.named(name, version)
        end = self._end(request)
        with self._room:
            return await self._infer(request, model, end)

    async def _infer(self, request: Request, model: RankerModel, end: float) -> Response:
        body = await self._body(request)
        json_bytes, tail = _split(body, request.headers.get(JSON_LENGTH))
        call = with_binary(parse_json(json_bytes, model.limits), tail, model.limits)
        wanted = v2_wanted(call)
        asked = model.parse(v2_request(call, model.current.context_features, model.limits))
        [answer] = await model.rank([asked], _left(end))
        content, json_length = write_answer(
            v2_answer(answer, model.name, asked.request_id or answer.exposure_id, wanted), binary_outputs(call, wanted)
        )
        headers = answer_headers([answer])
        if json_length is None:
            return Ranked(content, "application/json", headers)
        headers[JSON_LENGTH] = str(json_length)
        return Ranked(content, "application/octet-stream", headers)

    async def predict(self, request: Request, name: str) -> Response:
        """Ranks the candidates of each instance (V1)."""
        model = self.repository.named(name)
        end = self._end(request)
        with self._room:
            value = parse_json(await self._body(request), model.limits)
            asked = [model.parse(instance) for instance in v1_requests(value, candidates=model.limits.candidates)]
            answers = await model.rank(asked, _left(end))
        return Ranked(encode(v1_answer(answers)), "application/json", answer_headers(answers))

    async def load(self, name: str) -> Response:
        """Loads the server's own bundle address again and swaps it in without dropping a request."""
        model = self.repository.named(name)
        if not self.options.reload_by_api:
            raise RequestError("loading by API is off; start the server with --reload-api, or send it SIGHUP", 403)
        return _json({"name": name, "load": True, "digest": await model.reload()})

    def _readiness(self, named: Json) -> Response:
        if self.model.host.ready and not self.model.draining:
            return _json(named | {"ready": True})
        return _json(named | {"ready": False, "error": self.model.why_not_ready}, 503)

    async def _body(self, request: Request) -> bytes:
        if request.headers.get("content-encoding", "identity") != "identity":
            raise RequestError("the body is encoded; send it as it is, without content-encoding", 415)
        # Asked before the body is read: what cannot be answered now costs nothing.
        _ = self.model.current
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                return await read_body(request.receive, self.model.limits.body_bytes)
        except TimeoutError:
            raise RequestError(f"the body did not arrive within {_BODY_SECONDS:g} s", 408, "slow_body") from None

    def _end(self, request: Request) -> float:
        """When the request's deadline passes, by time.monotonic(). It counts from the head on, the body included."""
        told = request.headers.get(TIMEOUT)
        if told is None:
            return time.monotonic() + self.options.deadline_s
        # isdecimal alone takes digits of other scripts.
        if not (told.isascii() and told.isdecimal() and 0 < len(told) <= 9 and int(told) > 0):
            raise RequestError(f"header {TIMEOUT} must be a whole number of milliseconds above 0")
        return time.monotonic() + min(self.options.deadline_s, int(told) / 1000)


def _left(end: float) -> float:
    """Seconds until the deadline. Raises DeadlinePassed where there are none."""
    left = end - time.monotonic()
    if left <= 0:
        raise DeadlinePassed("the deadline passed before the whole body was here")
    return left


def answer_headers(answers: Sequence[RankAnswer]) -> dict[str, str]:
    """Who answered, for the gateway's log: one value an answer where they differ."""
    headers = {
        "x-mgoe-digest": ",".join(dict.fromkeys(answer.digest for answer in answers)),
        "x-mgoe-exposure-id": ",".join(answer.exposure_id for answer in answers),
    }
    arms = ",".join(dict.fromkeys(answer.arm for answer in answers if answer.arm))
    return headers | ({"x-mgoe-arm": arms} if arms else {})


def _split(body: bytes, json_length: str | None) -> tuple[bytes, bytes]:
    if json_length is None:
        return body, b""
    if not (json_length.isascii() and json_length.isdecimal() and len(json_length) < 10):
        raise RequestError(f"header {JSON_LENGTH} must be a number of bytes")
    length = int(json_length)
    if length > len(body):
        raise RequestError(f"header {JSON_LENGTH} says {length}, but the body has {len(body)} bytes")
    return body[:length], body[length:]


def _json(value: Json, status: int = 200) -> Response:
    return Response(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS), status, media_type="application/json")


def _on_refusal(model: RankerModel) -> Any:  # a handler
    async def handle(_: Request, refusal: Refusal) -> Response:
        model.count_refusal(refusal)
        response = _json({"error": str(refusal)}, refusal.status)
        if refusal.status in {429, 503}:
            response.headers["retry-after"] = "1"
        return response

    return handle


async def _on_not_ready(_: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 503)


async def _on_http_error(request: Request, error: Exception) -> Response:
    """No such path or method."""
    status = error.status_code if isinstance(error, HTTPException) else 400
    detail = error.detail if isinstance(error, HTTPException) else str(error)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    response = _json({"error": f"{request.method} {request.url.path[:200]}: {detail}"}, status)
    response.headers.update(headers)
    return response


async def _on_disconnect(_: Request, __: Exception) -> Response:
    """Nobody is there to read it."""
    return _json({"error": "the caller went away"}, 400)


async def _on_fault(_: Request, __: Exception) -> Response:
    """uvicorn writes its traceback into the log."""
    return _json({"error": "the server failed; its log says why"}, 500)
