"""The model server as a real process, with a trained bundle, over every protocol it speaks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import httpx
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest  # type: ignore[import-untyped]
from kserve.inference_client import RESTConfig  # type: ignore[import-untyped]
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb  # type: ignore[import-untyped]
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as pb_grpc
from prometheus_client import CollectorRegistry

from model.errors import Fault
from serving.listening import bound, listen
from serving.ranker.host import RankerHost
from serving.ranker.kserve_server import Server, ServerSettings
from serving.ranker.ranker import Ranker
from serving.ranker.request import RankAnswer, RankRequest
from serving.ranker.settings import RankerSettings
from tests.serving.ranker.kserve_process import ROOT, ServerProcess, v2_call

USER, ITEMS, TIME = "7", ["3", "11", "never-seen", "40"], 1.7e9


@pytest.fixture(scope="module")
def expected(rankers: Callable[[str], Ranker]) -> RankAnswer:
    return rankers("mgoe").rank(RankRequest(user=USER, items=tuple(ITEMS), time=TIME))


def call() -> dict[str, Any]:
    body = v2_call(USER, ITEMS)
    body["inputs"].append({"name": "time", "shape": [1], "datatype": "FP64", "data": [TIME]})
    return body


def kserve_request(*, binary: bool) -> InferRequest:
    user, items = InferInput("user", [1], "BYTES"), InferInput("items", [len(ITEMS)], "BYTES")
    moment = InferInput("time", [1], "FP64")
    user.set_data_from_numpy(np.array([USER], np.object_), binary_data=binary)
    items.set_data_from_numpy(np.array(ITEMS, np.object_), binary_data=binary)
    moment.set_data_from_numpy(np.array([TIME]), binary_data=binary)
    return InferRequest("mgoe", [user, items, moment], request_id="r1")


def test_v2_and_v1_answer_what_the_ranker_answers(server: ServerProcess, expected: RankAnswer) -> None:
    v2 = httpx.post(f"{server.url}/v2/models/mgoe/infer", json=call()).json()
    tensors = {output["name"]: np.array(output["data"]).reshape(output["shape"]) for output in v2["outputs"]}
    instance = {"user": USER, "items": ITEMS, "time": TIME}
    v1 = httpx.post(f"{server.url}/v1/models/mgoe:predict", json={"instances": [instance]}).json()["predictions"][0]
    for found in (tensors, v1):
        np.testing.assert_allclose(found["probabilities"], expected.probabilities, atol=1e-5)
        np.testing.assert_allclose(found["score"], expected.score, atol=1e-5)
        assert list(found["order"]) == expected.order.tolist()
    assert v2["parameters"]["digest"] == v1["digest"] == expected.digest


@pytest.mark.parametrize("binary", [True, False])
def test_kserves_own_rest_client_is_answered(server: ServerProcess, expected: RankAnswer, binary: bool) -> None:
    async def ask() -> Any:
        client = InferenceRESTClient(RESTConfig(protocol="v2", retries=1, timeout=30))
        try:
            return await client.infer(server.url, kserve_request(binary=binary), model_name="mgoe")
        finally:
            await client.close()

    answer = asyncio.run(ask())
    found = {output.name: output.as_numpy() for output in answer.outputs}
    np.testing.assert_allclose(found["probabilities"], expected.probabilities, atol=1e-5)


def test_kserves_own_grpc_client_is_answered(server: ServerProcess, expected: RankAnswer) -> None:
    async def ask() -> Any:
        client = InferenceGRPCClient(f"127.0.0.1:{server.grpc_port}", retries=2)
        try:
            assert await client.is_server_ready()
            assert await client.is_model_ready("mgoe")
            return await client.infer(kserve_request(binary=True))
        finally:
            await client.close()

    answer = asyncio.run(ask())
    found = {output.name: output.as_numpy() for output in answer.outputs}
    np.testing.assert_allclose(found["probabilities"], expected.probabilities, atol=1e-5)
    assert found["order"].tolist() == expected.order.tolist()
    assert answer.parameters["arm"].string_param == "candidate"


def test_grpc_tells_its_metadata_and_who_answered(server: ServerProcess) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = pb_grpc.GRPCInferenceServiceStub(channel)
        metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="mgoe"))
        assert {"user", "items"} <= {tensor.name for tensor in metadata.inputs}
        message = pb.ModelInferRequest(model_name="mgoe")
        message.inputs.add(name="user", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"7")
        message.inputs.add(name="items", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"3")
        answer, told = stub.ModelInfer.with_call(message)
        trailing = dict(told.trailing_metadata())
        assert trailing["x-mgoe-arm"] == "candidate"
        assert trailing["x-mgoe-exposure-id"] == answer.parameters["exposure_id"].string_param


def grpc_status(server: ServerProcess, method: str, message: bytes) -> tuple[grpc.StatusCode, str]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        send = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
        with pytest.raises(grpc.RpcError) as refused:
            send(message, timeout=10)
    return refused.value.code(), refused.value.details()


@pytest.mark.parametrize(
    ("method", "message", "status"),
    [
        ("ModelInfer", b"\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
        ("ModelInfer", pb.ModelInferRequest(model_name="x").SerializeToString(), grpc.StatusCode.NOT_FOUND),
        ("ModelInfer", pb.ModelInferRequest(model_name="mgoe").SerializeToString(), grpc.StatusCode.INVALID_ARGUMENT),
        ("ModelInfer", b"x" * (5 * 2**20), grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("ModelMetadata", b"\x0a\xff", grpc.StatusCode.INVALID_ARGUMENT),
        ("RepositoryModelLoad", b"", grpc.StatusCode.NOT_FOUND),
        ("Nothing", b"", grpc.StatusCode.UNIMPLEMENTED),
    ],
)
def test_a_bad_grpc_call_gets_a_status_and_a_sentence(
    server: ServerProcess, method: str, message: bytes, status: grpc.StatusCode
) -> None:
    found, sentence = grpc_status(server, method, message)
    assert found == status
    assert len(sentence) > 10
    assert "Traceback" not in server.log


def test_metrics_carry_arm_and_digest(server: ServerProcess, expected: RankAnswer) -> None:
    httpx.post(f"{server.url}/v2/models/mgoe/infer", json=call())
    text = httpx.get(f"{server.url}/metrics").text
    side = f'arm="candidate",digest="{expected.digest[:12]}"'
    assert f"mgoe_rank_seconds_bucket{{{side},le=" in text
    assert f"mgoe_rank_item_cache_hits_total{{{side}}}" in text
    assert 'request_predict_seconds_count{model_name="mgoe"}' in text


def test_a_body_over_the_cap_is_refused_and_the_server_lives(server: ServerProcess) -> None:
    answer = httpx.post(f"{server.url}/v2/models/mgoe/infer", content=b"x" * (6 * 2**20), timeout=30)
    assert answer.status_code == 413
    assert "larger than" in answer.json()["error"]
    assert server.readiness()[0] == 200


@pytest.mark.parametrize(
    "path", ["/v2/health/live", "/v2/health/ready", "/v2/models/mgoe/ready", "/v2/models/mgoe", "/v2", "/nothing"]
)
def test_head_is_answered_as_get_without_a_body(server: ServerProcess, path: str) -> None:
    with httpx.Client(base_url=server.url) as client:  # one connection: a body after HEAD would spoil the next answer
        head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    if path != "/nothing":  # whose sentence names the method
        assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.slow  # it waits for ten seconds
def test_a_large_body_that_is_announced_and_never_comes_is_answered(server: ServerProcess) -> None:
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=30) as peer:
        peer.sendall(b"POST /v2/models/mgoe/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999999\r\n\r\n")
        answer = peer.recv(2**16)
    assert answer.startswith((b"HTTP/1.1 408", b"HTTP/1.1 413")), answer
    assert server.readiness()[0] == 200


def test_when_all_room_is_taken_one_more_request_is_a_429_until_there_is_room(server: ServerProcess) -> None:
    head = b"POST /v2/models/mgoe/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    room = 2 * RankerSettings().batch.queue

    def ask() -> httpx.Response:
        return httpx.post(f"{server.url}/v2/models/mgoe/infer", json=call(), timeout=30)

    with contextlib.ExitStack() as peers:
        for _ in range(room):
            peer = peers.enter_context(socket.create_connection(("127.0.0.1", server.http_port), timeout=30))
            peer.sendall(head)
        server.wait_for(lambda: (answer := ask()).status_code == 429 and answer.headers["retry-after"] == "1")
        assert server.readiness()[0] == 200
    server.wait_for(lambda: ask().status_code == 200)


def test_an_endless_head_is_cut_off(server: ServerProcess) -> None:
    answer = httpx.get(f"{server.url}/v2", headers={f"x-{place}": "y" * 1000 for place in range(400)}, timeout=30)
    assert answer.status_code == 400


def test_any_flipped_byte_keeps_the_server_unready_and_names_the_file(bundles: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "bundle"
    shutil.copytree(bundles["mmoe"], broken)
    names = ["weights.safetensors", "probe_scores.npy", "users/trained.npy", "serving.json"]
    flip(broken / names[0])
    with ServerProcess(broken, tmp_path) as server:
        assert names[0] in server.wait_refused()
        assert httpx.get(f"{server.url}/v2/health/live").status_code == 200
        assert httpx.post(f"{server.url}/v2/models/mgoe/infer", json=call()).status_code == 503
        flip(broken / names[0])
        for name in names[1:]:
            flip(broken / name)
            server.process.send_signal(signal.SIGHUP)
            server.wait_for(lambda: name in str(server.readiness()[1].get("error")))  # noqa: B023
            assert name in server.log
            flip(broken / name)
        # Mended in place, it is taken at the next signal.
        server.process.send_signal(signal.SIGHUP)
        server.wait_ready()


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def test_under_load_a_swap_and_then_a_termination_drop_no_request(bundles: dict[str, Path], tmp_path: Path) -> None:
    place, fresh = tmp_path / "current", tmp_path / "next"
    place.symlink_to(bundles["mmoe"])
    fresh.symlink_to(bundles["mgoe"])
    with ServerProcess(place, tmp_path, "--settle", "2") as server, Load(server.wait_ready()) as load:
        load.wait(20)
        fresh.rename(place)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(lambda: len(load.digests) == 2)
        load.wait(20)
        server.process.terminate()
        server.wait_for(lambda: server.readiness()[0] == 503)
        load.join()
        assert server.process.wait(30) == 0
    assert load.failures == []
    assert "stopped" in server.log


def test_a_server_that_still_loads_stops_when_told(tmp_path: Path) -> None:
    stuck = tmp_path / "bundle"
    stuck.mkdir()
    os.mkfifo(stuck / "manifest.json")  # whoever opens it waits
    with ServerProcess(stuck, tmp_path, "--settle", "0", "--drain", "1") as server:
        assert "is being loaded" in server.readiness()[1]["error"]
        server.process.terminate()
        assert server.process.wait(30) == 0


@pytest.mark.slow
def test_a_killed_server_starts_again(bundles: dict[str, Path], tmp_path: Path) -> None:
    with ServerProcess(bundles["mmoe"], tmp_path) as server:
        server.wait_ready().process.kill()
    with ServerProcess(bundles["mmoe"], tmp_path) as server:
        answer = httpx.post(f"{server.wait_ready().url}/v2/models/mgoe/infer", json=call())
        assert answer.status_code == 200


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Fault, match=f"cannot listen on 127.0.0.1 port {port}"):
            asyncio.run(Server(ServerSettings(str(tmp_path), http_port=port, grpc_port=0), CollectorRegistry()).serve())


def test_of_two_servers_that_start_together_the_second_is_refused_in_one_line() -> None:
    with bound("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bound("127.0.0.1", port) as second:
            listen(first)
            with pytest.raises(Fault, match=f"cannot listen on 127.0.0.1 port {port}: Address already in use"):
                listen(second)


def test_a_load_that_breaks_in_an_unknown_way_ends_a_server_without_a_bundle(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(self: RankerHost, source: str) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(RankerHost, "swap", broken)
    settings = ServerSettings(str(tmp_path), http_port=0, grpc_port=None, settle_s=0)
    with pytest.raises(Fault, match="ZeroDivisionError"):
        asyncio.run(Server(settings, CollectorRegistry()).serve())


class Load:
    """Requests one after the other from two clients, as from a balancer: each ends where the server says it goes."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.answers = 0
        self.digests: set[str] = set()
        self.failures: list[str] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def wait(self, more: int) -> None:
        until = self.answers + more
        self.server.wait_for(lambda: self.answers >= until or bool(self.failures))

    def _ask(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._end.is_set():
                try:
                    answer = client.post(f"{self.server.url}/v2/models/mgoe/infer", json=call())
                except httpx.TransportError as error:
                    self.failures.append(type(error).__name__)
                    return
                if answer.status_code != 200:
                    self.failures.append(answer.text)
                    return
                self.answers += 1
                self.digests.add(answer.headers["x-mgoe-digest"])
                if answer.headers.get("connection") == "close":
                    return


STOPPED_WHILE_LOADING = """
import os, signal, threading, torch
from serving.ranker.host import RankerHost
from serving.ranker.kserve_server import ServerSettings, run

def measure(host, source):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    while True:
        torch.ones(200, 200) @ torch.ones(200, 200)

RankerHost.swap = measure
run(ServerSettings("bundle", http_port=0, grpc_port=0, settle_s=0.1))
"""


def test_a_termination_while_a_load_measures_ends_with_code_0() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", STOPPED_WHILE_LOADING],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "SIGTERM: draining" in ended.stderr
    assert "stopped" in ended.stderr
