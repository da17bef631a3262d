"""Anything may come over the wire: the real server answers 200 or a 4xx with a sentence, and lives on."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any
from urllib.parse import quote

import grpc  # type: ignore[import-untyped]
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb  # type: ignore[import-untyped]

from tests.serving.ranker.kserve_process import ServerProcess, v2_call

EXAMPLES = 150
PATHS = ["/v2/models/mgoe/infer", "/v1/models/mgoe:predict"]
GOOD_STATUS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED}
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["user", "items", "7", "3", "", "\ud800", "BYTES", "FP32", "click", 10**400])
)
trees = st.recursive(scalars, lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=6), part))
names = st.sampled_from(["user", "items", "time", "context.slot", "utility.click", "utility.", "context.", "x"])
datatypes = st.sampled_from(["BYTES", "INT32", "FP32", "FP64", "BOOL", "FP16", "nothing"])
shapes = st.lists(st.integers(-2, 3), max_size=3) | trees
tensors = st.fixed_dictionaries(
    {
        "name": names | scalars,
        "datatype": datatypes | scalars,
        "shape": shapes,
        "data": st.lists(trees, max_size=4) | trees,
    },
    optional={"parameters": trees | st.fixed_dictionaries({"binary_data_size": scalars})},
)
v2_calls = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=4) | trees},
    optional={
        "id": scalars,
        "outputs": trees | st.lists(st.fixed_dictionaries({"name": scalars})),
        "parameters": trees,
    },
)
instances = st.fixed_dictionaries(
    {"user": scalars, "items": st.lists(scalars, max_size=4) | trees},
    optional={"context": trees, "utility": trees, "time": scalars, "request_id": scalars, "other": scalars},
)
v1_calls = st.fixed_dictionaries({"instances": st.lists(instances | trees, max_size=3) | trees})


def written(value: object) -> bytes:
    return json.dumps(value).encode(errors="surrogatepass")


bodies = st.one_of(v2_calls.map(written), v1_calls.map(written), trees.map(written), st.binary(max_size=200))


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Any:
    with httpx.Client(base_url=server.url, timeout=30) as open_client:
        yield open_client


def check(answer: httpx.Response, server: ServerProcess) -> None:
    assert answer.status_code == 200 or 400 <= answer.status_code < 500, (answer.text, server.log[-2000:])
    if answer.status_code != 200:
        assert len(answer.json()["error"]) > 10


@fuzz
@given(st.sampled_from(PATHS), bodies)
def test_any_body_is_answered_or_refused_with_a_sentence(
    client: httpx.Client, server: ServerProcess, path: str, body: bytes
) -> None:
    check(client.post(path, content=body), server)


@fuzz
@given(v2_calls, st.binary(max_size=40), st.integers(-3, 300) | st.text("0123456789ab٣", max_size=6))
def test_any_binary_tail_is_answered_or_refused_with_a_sentence(
    client: httpx.Client, server: ServerProcess, call: dict[str, Any], tail: bytes, length: int | str
) -> None:
    head = written(call)
    told = str(len(head) + length if isinstance(length, int) and length < 3 else length).encode()
    headers = {b"inference-header-content-length": told}
    check(client.post(PATHS[0], content=head + tail, headers=headers), server)


@fuzz
@given(st.data())
def test_a_good_body_with_one_byte_changed_is_answered_or_refused(
    client: httpx.Client, server: ServerProcess, data: st.DataObject
) -> None:
    body = bytearray(written(v2_call("7", ["3", "11"])))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    check(client.post(PATHS[0], content=bytes(body)), server)


@fuzz
@given(st.text(max_size=30), st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]))
def test_any_path_and_method_is_answered_or_refused(
    client: httpx.Client, server: ServerProcess, name: str, method: str
) -> None:
    quoted = f"/v2/models/{quote(name, safe='', errors='replace')}"
    answer = client.request(method, quoted)
    assert 200 <= answer.status_code < 500, answer.text


@settings(fuzz, max_examples=60)
@given(st.binary(max_size=300))
def test_bytes_that_are_no_http_do_not_hurt(server: ServerProcess, garbage: bytes) -> None:
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", server.http_port), 10) as raw:
        raw.sendall(garbage + b"\r\n\r\n")
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(65536):
            pass
    assert server.process.poll() is None


contents = st.builds(
    pb.InferTensorContents,
    bytes_contents=st.lists(st.binary(max_size=5), max_size=3),
    int_contents=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
    fp32_contents=st.lists(st.floats(width=32), max_size=3),
    fp64_contents=st.lists(st.floats(), max_size=3),
)
texts = st.text(st.characters(codec="utf-8"), max_size=6)
message_tensors = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=names | texts,
    datatype=datatypes | texts,
    shape=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3), max_size=3),
    contents=st.none() | contents,
)
messages = st.builds(
    pb.ModelInferRequest,
    model_name=st.just("mgoe") | texts,
    model_version=st.just("") | texts,
    id=texts,
    inputs=st.lists(message_tensors, max_size=4),
    raw_input_contents=st.lists(st.binary(max_size=20), max_size=4),
)


@fuzz
@given(messages.map(lambda message: message.SerializeToString()) | st.binary(max_size=100))
def test_any_message_is_answered_or_refused_with_a_sentence(server: ServerProcess, message: bytes) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        outcome = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer").future(message, timeout=30)
        error = outcome.exception()
    if error is not None:
        assert error.code() in GOOD_STATUS, (error.details(), server.log[-2000:])
        assert len(error.details()) > 10


def test_after_all_that_the_server_still_answers(client: httpx.Client, server: ServerProcess) -> None:
    answer = client.post(PATHS[0], json=v2_call("7", ["3"]))
    assert answer.status_code == 200
    assert server.process.poll() is None
    assert "Traceback" not in server.log


@pytest.mark.slow
@settings(fuzz, max_examples=5000)
@given(st.sampled_from(PATHS), bodies)
def test_thousands_of_bodies_are_answered_or_refused_with_a_sentence(
    client: httpx.Client, server: ServerProcess, path: str, body: bytes
) -> None:
    check(client.post(path, content=body), server)


@pytest.mark.slow
def test_a_body_that_does_not_come_is_a_408(server: ServerProcess) -> None:
    with socket.create_connection(("127.0.0.1", server.http_port), 30) as raw:
        raw.sendall(f"POST {PATHS[0]} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{".encode())
        assert raw.recv(65536).startswith(b"HTTP/1.1 408")
