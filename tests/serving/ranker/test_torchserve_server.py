"""A real TorchServe, frontend and worker, over its own HTTP endpoints."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import URLError

import grpc  # type: ignore[import-untyped]
import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest

from serving.ranker.ranker import Ranker
from serving.ranker.request import RankRequest
from serving.ranker.settings import RankerSettings
from serving.ranker.torchserve.archive import ArchiveOptions, write_archive
from serving.ranker.torchserve.tokens import renew, token
from tests.serving.ranker.torchserve_process import TorchServe, require_torchserve

pytestmark = pytest.mark.torchserve


@pytest.fixture(scope="module")
def server(
    bundles: dict[str, Path], quick: RankerSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TorchServe]:
    require_torchserve()
    folder = tmp_path_factory.mktemp("torchserve")
    write_archive(bundles["mgoe"], folder / "archive", ArchiveOptions(ranker=quick))
    server = TorchServe(folder / "archive", folder / "run")
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def ranker(rankers: Callable[[str], Ranker]) -> Ranker:
    return rankers("mgoe")


def v2(request: RankRequest) -> dict[str, object]:
    items = list(request.items)
    return {
        "inputs": [
            {"name": "user", "datatype": "BYTES", "shape": [1], "data": [request.user]},
            {"name": "items", "datatype": "BYTES", "shape": [len(items)], "data": items},
            {"name": "time", "datatype": "FP64", "shape": [1], "data": [request.time]},
        ]
    }


def plain(request: RankRequest) -> dict[str, object]:
    return {"user": request.user, "items": list(request.items), "time": request.time}


def request_of(ranker: Ranker, place: int = 0) -> RankRequest:
    asked = ranker.bundle.probes[place].request
    return RankRequest(asked.user, asked.items, time=asked.time)


def test_v1_v2_and_own_paths_answer_what_the_ranker_answers(server: TorchServe, ranker: Ranker) -> None:
    request = request_of(ranker)
    wanted = ranker.rank(request)
    status, own = server.call("/predictions/ranker", plain(request))
    assert status == 200
    np.testing.assert_allclose(own["probabilities"], wanted.probabilities, atol=1e-5)
    status, v1 = server.call("/v1/models/ranker:predict", {"instances": [plain(request)]})
    assert status == 200
    np.testing.assert_allclose(v1["predictions"][0]["score"], wanted.score, atol=1e-5)
    status, told = server.call("/v2/models/ranker/infer", {**v2(request), "id": "mine"})
    assert status == 200
    assert (told["model_name"], told["model_version"], told["id"]) == ("ranker", wanted.digest[:12], "mine")
    assert told["parameters"]["arm"] == "candidate"
    np.testing.assert_allclose(told["outputs"][0]["data"], wanted.probabilities.ravel(), atol=1e-5)
    assert told["outputs"][2]["data"] == wanted.order.tolist()


def test_calls_that_come_together_get_their_own_answers(server: TorchServe, ranker: Ranker) -> None:
    requests = [request_of(ranker, place % len(ranker.bundle.probes)) for place in range(24)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda each: server.call("/v2/models/ranker/infer", v2(each)), requests))
    for request, (status, told) in zip(requests, answers, strict=True):
        assert status == 200
        np.testing.assert_allclose(told["outputs"][1]["data"], ranker.rank(request).score, atol=1e-5)


def test_bad_calls_get_a_4xx_and_a_sentence_and_the_worker_lives(server: TorchServe) -> None:
    before = server.workers()
    one = {"name": "user", "datatype": "BYTES", "shape": [1], "data": ["u"]}
    for raw in (b"", b"{", b"\xff\xfe", b'{"inputs": NaN}', b"[[[[", b"null", b'{"instances": [1]}'):
        for path in ("/predictions/ranker", "/v1/models/ranker:predict", "/v2/models/ranker/infer"):
            status, told = server.call(path, raw=raw)
            assert (status, list(told)) == (400, ["error"]), (raw, path)
    for body in ({"inputs": [one]}, {"inputs": [one, {**one, "name": "items", "shape": [0], "data": []}]}):
        status, told = server.call("/v2/models/ranker/infer", body)
        assert status == 400
        assert "items" in told["error"]
    items = {"name": "items", "datatype": "BYTES", "shape": [1], "data": ["i"]}
    weight = {"name": "utility.nothing", "datatype": "FP64", "shape": [1], "data": [1]}
    status, told = server.call("/v2/models/ranker/infer", {"inputs": [one, items, weight]})
    assert status == 422
    assert "nothing" in told["error"]
    assert server.call("/v2/models/nothing/infer", {"inputs": []})[0] == 404
    try:
        assert server.call("/v2/models/ranker/infer", raw=b" " * (server.options.body_bytes + 1))[0] == 413
    except URLError as refused:  # TorchServe answers and hangs up, maybe while the body is still being sent
        assert isinstance(refused.reason, ConnectionResetError | BrokenPipeError)  # noqa: PT017
    assert server.workers() == before != []


def test_calls_without_the_token_are_refused(server: TorchServe, ranker: Ranker) -> None:
    for key in (None, "wrong"):
        status, told = server.call("/v2/models/ranker/infer", v2(request_of(ranker)), key=key)
        assert (status, told["type"]) == (400, "InvalidKeyException")
        assert server.call("/models", port=server.options.management_port, key=key)[0] == 400


def test_a_renewed_token_replaces_the_old_one(server: TorchServe, ranker: Ranker) -> None:
    old = token(server.run)
    renew(server.run, server.options.management_port)
    assert token(server.run) != old
    assert server.call("/v2/models/ranker/infer", v2(request_of(ranker)), key=old)[0] == 400
    assert server.call("/v2/models/ranker/infer", v2(request_of(ranker)))[0] == 200
    assert server.why_not_ready() is None


def test_models_cannot_be_changed_over_http(server: TorchServe) -> None:
    manager = {"port": server.options.management_port, "key": token(server.run, "management")}
    status, told = server.call("/models?url=http://127.0.0.1:1/other.mar", {}, **manager)  # type: ignore[arg-type]
    assert (status, told["type"]) == (405, "MethodNotAllowedException")


def test_every_port_is_bound_to_loopback(server: TorchServe) -> None:
    starter = psutil.Process(server.process.pid)
    connections = "net_connections" if hasattr(starter, "net_connections") else "connections"
    bound = {
        (each.laddr.ip.removeprefix("::ffff:"), each.laddr.port)
        for process in (starter, *starter.children(recursive=True))
        for each in getattr(process, connections)("inet")
        if each.status == psutil.CONN_LISTEN
    }
    assert {ip for ip, _ in bound} == {"127.0.0.1"}
    assert server.options.port in {port for _, port in bound}


def test_the_grpc_that_cannot_be_turned_off_answers_as_http_does_and_only_with_the_token(
    server: TorchServe, ranker: Ranker
) -> None:
    request = request_of(ranker)
    call = predictions_request("ranker", json.dumps(plain(request)).encode())
    with grpc.insecure_channel(f"127.0.0.1:{server.options.grpc_port}") as channel:
        predict = channel.unary_unary("/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions")

        def headers(key: str) -> tuple[tuple[str, str], ...]:
            return (("protocol", "gRPC"), ("authorization", f"Bearer {key}"))

        for metadata in ((), headers("wrong")):
            with pytest.raises(grpc.RpcError) as refused:
                predict(call, metadata=metadata, timeout=30)
            assert refused.value.code() in {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}
        answer = predict(call, metadata=headers(token(server.run)), timeout=30)
    told = json.loads(answer[answer.index(b"{") :])
    np.testing.assert_allclose(told["score"], ranker.rank(request).score, atol=1e-5)


def test_models_cannot_be_changed_over_grpc(server: TorchServe) -> None:
    before = server.workers()
    metadata = (("protocol", "gRPC"), ("authorization", f"Bearer {token(server.run, 'management')}"))
    with grpc.insecure_channel(f"127.0.0.1:{server.options.grpc_management_port}") as channel:
        change = channel.unary_unary("/org.pytorch.serve.grpc.management.ManagementAPIsService/UnregisterModel")
        with pytest.raises(grpc.RpcError):
            change(field(1, b"ranker"), metadata=metadata, timeout=30)
    assert server.workers() == before != []


def predictions_request(model: str, body: bytes) -> bytes:
    """A PredictionsRequest of TorchServe's inference.proto; the package ships no Python of it."""
    return field(1, model.encode()) + field(3, field(1, b"body") + field(2, body))


def field(number: int, value: bytes) -> bytes:
    """A length-delimited field of a protobuf message."""
    size, length = len(value), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + value


def test_metrics_tell_latencies_by_arm_and_digest(server: TorchServe, ranker: Ranker) -> None:
    server.call("/predictions/ranker", plain(request_of(ranker)))
    side = f'arm="candidate",digest="{ranker.digest[:12]}"'
    end = time.monotonic() + 10  # the frontend reads them from the worker's output, after the answer
    while True:
        _, text = server.call("/metrics", port=server.options.metrics_port, key=None)
        if f"mgoe_rank_seconds_bucket{{{side}" in text or time.monotonic() > end:
            break
        time.sleep(0.1)
    assert f"mgoe_rank_seconds_bucket{{{side}" in text
    assert f"mgoe_rank_candidates{{{side}" in text


def test_a_broken_bundle_keeps_it_not_ready_and_named_until_it_is_mended(
    bundles: dict[str, Path], quick: RankerSettings, tmp_path: Path
) -> None:
    require_torchserve()
    bundle = tmp_path / "bundle"
    shutil.copytree(bundles["mmoe"], bundle)
    write_archive(bundle, tmp_path / "archive", ArchiveOptions(ranker=quick), uri=bundle.as_uri())
    broken = bytearray((bundle / "weights.safetensors").read_bytes())
    broken[-1] ^= 1
    (bundle / "weights.safetensors").write_bytes(broken)
    server = TorchServe(tmp_path / "archive", tmp_path / "run")
    try:
        server.wait(until_ready=False, words="weights.safetensors")
        assert server.workers() == []
        shutil.copyfile(bundles["mmoe"] / "weights.safetensors", bundle / "weights.safetensors")
        server.wait()
        assert server.call("/predictions/ranker", {"user": "u", "items": ["i"]})[0] == 200
        (worker,) = server.workers()
        with ThreadPoolExecutor(1) as other:
            calls = other.submit(while_ready, server)
            time.sleep(0.5)
            code = server.stop()
    finally:
        server.stop()
    assert code == 0
    assert server.why_not_ready() == "the server is shutting down"
    # A balancer that looks away when readiness fails loses nothing.
    assert calls.result().count(200) == len(calls.result()) > 0
    assert ended_soon(worker)


def test_while_its_worker_loads_calls_wait_in_the_queue_and_a_full_queue_is_a_503(
    bundles: dict[str, Path], quick: RankerSettings, tmp_path: Path
) -> None:
    require_torchserve()
    stuck = tmp_path / "bundle"
    stuck.mkdir()
    os.mkfifo(stuck / "manifest.json")  # whoever opens it waits
    options = ArchiveOptions(ranker=quick, queue=1)
    write_archive(bundles["mmoe"], tmp_path / "archive", options, uri=stuck.as_uri())
    server = TorchServe(tmp_path / "archive", tmp_path / "run")

    def status(_: int) -> int | None:
        try:
            return server.call("/v2/models/ranker/infer", {"inputs": []}, timeout_s=3)[0]
        except TimeoutError:
            return None

    try:
        server.wait(until_ready=False, words="no worker of 'ranker' is ready")
        with ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(status, range(4)))
    finally:
        server.stop()
    assert (statuses.count(None), statuses.count(503)) == (1, 3), statuses


def while_ready(server: TorchServe) -> list[int]:
    """Statuses of calls one after the other, until readiness fails."""
    statuses = []
    while server.why_not_ready() is None:
        statuses.append(server.call("/predictions/ranker", {"user": "u", "items": ["i"]})[0])
    return statuses


def ended_soon(pid: int) -> bool:
    end = time.monotonic() + 10
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.1)
    return not alive(pid)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
