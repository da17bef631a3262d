"""HTTP of the KServe model server, over a host that answers as told."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message

from serving.ranker.metrics import RankerMetrics
from serving.ranker.refusal import DeadlinePassed, Draining, NotReady, QueueFull, RequestError
from serving.ranker.settings import Limits
from tests.serving.ranker.kserve_process import v2_call
from tests.serving.ranker.kserve_stub import DIGEST, StubHost, stub_app, stub_repository

INFER = "/v2/models/mgoe/infer"
PREDICT = "/v1/models/mgoe:predict"


def client(host: StubHost | None = None, limits: Limits | None = None, *, reload_by_api: bool = False) -> TestClient:
    return TestClient(stub_app(host or StubHost(), limits, reload_by_api=reload_by_api), raise_server_exceptions=False)


def test_a_v2_call_is_answered_with_three_tensors_and_their_meaning() -> None:
    answer = client().post(INFER, json=v2_call("u", ["a", "b", "c"], id="r1"))
    body = answer.json()
    assert answer.status_code == 200
    assert (body["model_name"], body["model_version"], body["id"]) == ("mgoe", DIGEST[:12], "r1")
    tensors = {output["name"]: output for output in body["outputs"]}
    assert tensors["probabilities"]["shape"] == [3, 2]
    assert tensors["probabilities"]["data"] == pytest.approx([0.1, 0.05, 0.2, 0.1, 0.3, 0.15])
    assert tensors["order"] == {"name": "order", "datatype": "INT32", "shape": [3], "data": [2, 1, 0]}
    assert body["parameters"]["digest"] == DIGEST
    assert body["parameters"]["arm"] == "candidate"


def test_headers_say_who_answered() -> None:
    answer = client().post(INFER, json=v2_call("u", ["a"]))
    assert answer.headers["x-mgoe-arm"] == "candidate"
    assert answer.headers["x-mgoe-digest"] == DIGEST
    assert answer.headers["x-mgoe-exposure-id"] == answer.json()["parameters"]["exposure_id"]


def test_instances_of_v1_are_answered_in_order() -> None:
    host = StubHost()
    body = {"instances": [{"user": "u", "items": ["a", "b"]}, {"user": "v", "items": ["c"], "utility": {"like": 2}}]}
    answer = client(host).post(PREDICT, json=body)
    predictions = answer.json()["predictions"]
    assert [len(each["score"]) for each in predictions] == [2, 1]
    assert [request.user for request in host.requests] == ["u", "v"]
    assert host.requests[1].utility == {"like": 2.0}
    assert answer.headers["x-mgoe-exposure-id"] == ",".join(each["exposure_id"] for each in predictions)


def test_instances_of_one_call_share_the_cap_on_candidates() -> None:
    body = {"instances": [{"user": "u", "items": ["a"] * 6}, {"user": "v", "items": ["b"] * 6}]}
    answer = client(limits=Limits(candidates=10)).post(PREDICT, json=body)
    assert answer.status_code == 413
    assert "12 candidates" in answer.json()["error"]


def test_context_and_utility_travel_as_tensors() -> None:
    host = StubHost()
    call = v2_call("u", ["a"])
    call["inputs"] += [
        {"name": "context.seen", "shape": [2], "datatype": "BYTES", "data": ["x", "y"]},
        {"name": "context.battery", "shape": [1], "datatype": "FP32", "data": [0.5]},
        {"name": "utility.like", "shape": [1], "datatype": "FP32", "data": [3]},
    ]
    assert client(host).post(INFER, json=call).status_code == 200
    assert host.requests[0].context == {"seen": ["x", "y"], "battery": 0.5}
    assert host.requests[0].utility == {"like": 3.0}


def test_binary_tensors_come_and_go_behind_the_json() -> None:
    raw = b"".join(struct.pack("<I", len(text)) + text for text in (b"a", "ü".encode()))
    call = v2_call("u", [], parameters={"binary_data_output": True})
    call["inputs"][1] = {
        "name": "items",
        "shape": [2],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(raw)},
    }
    head = json.dumps(call).encode()
    host = StubHost()
    answer = client(host).post(INFER, content=head + raw, headers={"inference-header-content-length": str(len(head))})
    assert host.requests[0].items == ("a", "ü")
    length = int(answer.headers["inference-header-content-length"])
    outputs = json.loads(answer.content[:length])["outputs"]
    sizes = [output["parameters"]["binary_data_size"] for output in outputs]
    assert sizes == [16, 8, 8]
    assert len(answer.content) == length + sum(sizes)
    assert np.frombuffer(answer.content[-8:], "<i4").tolist() == [1, 0]


def test_a_version_is_the_digest_or_its_first_signs() -> None:
    here = client()
    for version, status in ((DIGEST, 200), (DIGEST[:12], 200), (DIGEST[:3], 404), ("2", 404)):
        assert here.post(f"/v2/models/mgoe/versions/{version}/infer", json=v2_call("u", ["a"])).status_code == status
        assert here.get(f"/v2/models/mgoe/versions/{version}").status_code == status


BAD: list[tuple[str, bytes, int]] = [
    (INFER, b"", 400),
    (INFER, b"{", 400),
    (INFER, b"[]", 400),
    (INFER, b"null", 400),
    (INFER, b"\xff\xfe", 400),
    (INFER, b"[" * 100_000, 400),
    (INFER, b'{"inputs": [{"name": "user", "shape": [1], "datatype": "FP32", "data": [NaN]}]}', 400),
    (INFER, b'{"inputs": 5}', 400),
    (INFER, json.dumps(v2_call("u", [])).encode(), 400),
    (INFER, json.dumps(v2_call("u", ["a"], outputs=[{"name": "other"}])).encode(), 400),
    (INFER, json.dumps(v2_call("u", ["a"], outputs=7)).encode(), 400),
    (INFER, json.dumps(v2_call("u", ["a"], outputs=[7])).encode(), 400),
    (INFER, json.dumps(v2_call("u", ["a"], id={"a": 1})).encode(), 400),
    (PREDICT, b'{"instances": []}', 400),
    (PREDICT, b'{"instances": {"user": "u"}}', 400),
    (PREDICT, b'{"instances": [{"user": "u", "items": ["a"], "utility": {"other": 1}}]}', 422),
    (PREDICT, b'{"instances": [{"user": "u", "items": ["a"], "context": {"other": 1}}]}', 422),
    (PREDICT, b'{"instances": [{"user": "u", "items": ["a"], "utility": {"like": "x"}}]}', 400),
    ("/v2/models/other/infer", b"{}", 404),
    ("/v1/models/other:predict", b"{}", 404),
    ("/v1/models/mgoe:explain", b"{}", 405),
    ("/nowhere", b"{}", 404),
]


@pytest.mark.parametrize(("path", "body", "status"), BAD, ids=range(len(BAD)))
def test_a_bad_request_gets_a_4xx_and_a_sentence(path: str, body: bytes, status: int) -> None:
    answer = client().post(path, content=body)
    assert answer.status_code == status, answer.text
    assert len(answer.json()["error"]) > 10


@pytest.mark.parametrize(
    "headers", [{"inference-header-content-length": "x"}, {"inference-header-content-length": "9999"}]
)
def test_a_wrong_length_of_the_json_is_a_400(headers: dict[str, str]) -> None:
    answer = client().post(INFER, json=v2_call("u", ["a"]), headers=headers)
    assert answer.status_code == 400
    assert "inference-header-content-length" in answer.json()["error"]


def test_a_body_over_the_cap_is_a_413_and_an_encoded_one_a_415() -> None:
    small = client(limits=Limits(body_bytes=1000))
    assert small.post(INFER, content=b"x" * 1001).status_code == 413
    assert small.post(INFER, content=b"x" * 100_000).status_code == 413
    assert small.post(INFER, content=b"x", headers={"content-encoding": "gzip"}).status_code == 415


@pytest.mark.parametrize(
    ("error", "status"),
    [(QueueFull("full"), 429), (DeadlinePassed("late"), 504), (Draining("going"), 503)],
)
def test_refusals_of_the_host_become_their_status_and_sentence(error: Exception, status: int) -> None:
    answer = client(StubHost(error=error)).post(INFER, json=v2_call("u", ["a"]))
    assert (answer.status_code, answer.json()) == (status, {"error": str(error)})
    assert ("retry-after" in answer.headers) == (status in {429, 503})


def test_one_refused_instance_refuses_its_call() -> None:
    body = {"instances": [{"user": "u", "items": ["a"]}] * 3}
    assert client(StubHost(error=QueueFull("full"))).post(PREDICT, json=body).status_code == 429


def test_a_fault_is_a_500_that_tells_nothing_of_the_inside() -> None:
    answer = client(StubHost(error=RuntimeError("secret path"))).post(INFER, json=v2_call("u", ["a"]))
    assert answer.status_code == 500
    assert "secret" not in answer.text


@pytest.mark.parametrize(("told", "seconds"), [("250", 0.25), ("9000", 1.0), (None, 1.0)])
def test_the_gateways_deadline_counts_where_it_is_the_sooner(told: str | None, seconds: float) -> None:
    host = StubHost()
    headers = {} if told is None else {"x-envoy-expected-rq-timeout-ms": told}
    assert client(host).post(INFER, json=v2_call("u", ["a"]), headers=headers).status_code == 200
    assert host.deadlines == [pytest.approx(seconds, abs=0.2)]
    assert host.deadlines[0] is not None
    assert host.deadlines[0] < seconds, "what came before scoring counts"


@pytest.mark.parametrize("told", ["0", "-5", "x", "1e3", "9" * 30])
def test_a_deadline_that_is_none_is_a_400(told: str) -> None:
    answer = client().post(INFER, json=v2_call("u", ["a"]), headers={"x-envoy-expected-rq-timeout-ms": told})
    assert answer.status_code == 400


def test_a_server_without_a_bundle_lives_is_not_ready_and_says_why() -> None:
    here = client(StubHost(ready=False, why_not_ready="weights.safetensors differs from its digest"))
    assert here.get("/v2/health/live").status_code == 200
    for path in ("/v2/health/ready", "/v2/models/mgoe/ready", "/v1/models/mgoe"):
        answer = here.get(path)
        assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert here.post(INFER, json=v2_call("u", ["a"])).status_code == 503
    assert here.get("/v2/models/mgoe").status_code == 503


def test_a_failed_load_is_what_readiness_tells() -> None:
    host = StubHost(ready=False, why_not_ready="file x is broken", error=NotReady("file x is broken"))
    here = client(host, reload_by_api=True)
    assert "is being loaded" in here.get("/v2/health/ready").json()["error"]
    loaded = here.post("/v2/repository/models/mgoe/load")
    assert (loaded.status_code, loaded.json()["error"]) == (503, "file x is broken")
    assert here.get("/v2/health/ready").json()["error"] == "file x is broken"


def test_loading_by_api_takes_the_servers_own_bundle_and_only_where_it_is_allowed() -> None:
    host = StubHost()
    assert client(host).post("/v2/repository/models/mgoe/load").status_code == 403
    assert host.swapped == []
    answer = client(host, reload_by_api=True).post("/v2/repository/models/mgoe/load", json={"parameters": {"x": 1}})
    assert answer.json() == {"name": "mgoe", "load": True, "digest": DIGEST}
    assert host.swapped == ["/bundle"]


def test_metadata_names_inputs_outputs_digest_and_tasks() -> None:
    body = client().get("/v2/models/mgoe").json()
    assert {"user", "items", "context.tab", "utility.like"} <= {tensor["name"] for tensor in body["inputs"]}
    assert [tensor["name"] for tensor in body["outputs"]] == ["probabilities", "score", "order"]
    assert body["properties"]["digest"] == DIGEST
    assert body["properties"]["tasks"] == ["click", "like"]
    assert client().get("/v2/models").json() == {"models": ["mgoe"]}


def test_malformed_requests_are_counted_by_reason() -> None:
    here = client()
    here.post(INFER, content=b"{")
    here.post("/v2/models/other/infer", content=b"{}")
    text = here.get("/metrics").text
    assert 'mgoe_rank_refusals_total{arm="candidate",reason="json"} 1.0' in text
    assert 'mgoe_rank_refusals_total{arm="candidate",reason="unknown_model"} 1.0' in text


def test_the_openapi_description_names_every_route() -> None:
    paths: dict[str, Any] = client().get("/openapi.json").json()["paths"]
    assert {"/v2/models/{name}/infer", "/v1/models/{name}:predict", "/v2/health/ready"} <= paths.keys()
    assert "requestBody" in paths["/v2/models/{name}/infer"]["post"]


def asgi(app: ASGIApp, chunks: list[tuple[float, bytes]], headers: dict[str, str] | None = None) -> int:
    """Status of a ranking call whose body comes in chunks, each after so many seconds."""
    statuses: list[int] = []
    coming = list(chunks)

    async def receive() -> Message:
        wait, body = coming.pop(0)
        await asyncio.sleep(wait)
        return {"type": "http.request", "body": body, "more_body": bool(coming)}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    pairs = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": "POST", "path": INFER, "query_string": b"", "headers": pairs}

    async def ask() -> None:
        await app(scope, receive, send)

    asyncio.run(ask())
    return statuses[0]


def test_a_body_that_comes_after_the_deadline_is_too_late() -> None:
    body = json.dumps(v2_call("u", ["a"])).encode()
    host = StubHost()
    slow = [(0.0, body[:10]), (0.1, body[10:])]
    assert asgi(stub_app(host), slow, {"x-envoy-expected-rq-timeout-ms": "50"}) == 504
    assert host.requests == []
    assert asgi(stub_app(host), slow) == 200


def test_every_refusal_is_counted_once() -> None:
    unready = client(StubHost(ready=False, why_not_ready="no bundle"))
    unready.post(INFER, json=v2_call("u", ["a"]))
    assert 'refusals_total{arm="candidate",reason="draining"} 1.0' in unready.get("/metrics").text
    counted = RequestError("wrong", 422, "utility")
    counted.counted = True
    here = client(StubHost(error=counted))
    here.post(INFER, json=v2_call("u", ["a"]))
    assert 'reason="utility"' not in here.get("/metrics").text, "the host has counted it"


def test_more_requests_than_may_be_under_way_are_refused_unread() -> None:
    app = stub_app(StubHost(), in_flight=0)
    assert asgi(app, []) == 429


def test_the_server_names_the_extensions_that_it_has() -> None:
    assert client().get("/v2").json()["extensions"] == ["binary_tensor_data"]


def test_loads_that_are_asked_for_together_share_one() -> None:
    host = StubHost()
    model = stub_repository(host, RankerMetrics(CollectorRegistry())).model

    async def reload(times: int) -> None:
        await asyncio.gather(*(model.reload() for _ in range(times)))

    async def all_of_it() -> None:
        first = asyncio.ensure_future(reload(20))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.gather(first, reload(20), reload(5))

    asyncio.run(all_of_it())
    assert len(host.swapped) == 2, "one that runs, and one for all that came meanwhile"
