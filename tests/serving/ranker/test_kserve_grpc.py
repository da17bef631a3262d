"""gRPC of the KServe model server, over a host that answers as told."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb  # type: ignore[import-untyped]
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as pb_grpc
from prometheus_client import CollectorRegistry

from serving.ranker.kserve_grpc import grpc_server
from serving.ranker.metrics import RankerMetrics
from serving.ranker.refusal import DeadlinePassed, Draining, NotReady, QueueFull, RequestError
from tests.serving.ranker.kserve_stub import DIGEST, StubHost, stub_repository


def ask(host: StubHost, method: str, message: Any, timeout: float = 30, *, reload_by_api: bool = False) -> Any:
    """One call to a server of its own."""

    async def talk() -> Any:
        repository = stub_repository(host, RankerMetrics(CollectorRegistry()))
        server, port = grpc_server(repository, "127.0.0.1:0", deadline_s=1.0, reload_by_api=reload_by_api)
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                return await getattr(pb_grpc.GRPCInferenceServiceStub(channel), method)(message, timeout=timeout)
        finally:
            await server.stop(0)

    return asyncio.run(talk())


def call(name: str = "mgoe", version: str = "") -> Any:
    message = pb.ModelInferRequest(model_name=name, model_version=version, id="r1")
    message.inputs.add(name="user", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"u")
    message.inputs.add(name="items", datatype="BYTES", shape=[2]).contents.bytes_contents.extend([b"a", b"b"])
    return message


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (QueueFull("the queue is full"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (DeadlinePassed("the deadline passed"), grpc.StatusCode.DEADLINE_EXCEEDED),
        (Draining("the server goes away"), grpc.StatusCode.UNAVAILABLE),
        (RequestError("wrong", 422), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_refusals_of_the_host_become_their_status_and_sentence(error: Exception, status: grpc.StatusCode) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        ask(StubHost(error=error), "ModelInfer", call())
    assert (refused.value.code(), refused.value.details()) == (status, str(error))


def test_an_unready_server_says_so_and_refuses() -> None:
    host = StubHost(ready=False, why_not_ready="file x is broken")
    assert not ask(host, "ServerReady", pb.ServerReadyRequest()).ready
    assert ask(host, "ServerLive", pb.ServerLiveRequest()).live
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        ask(host, "ModelInfer", call())
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


def test_an_answer_names_its_version_and_holds_raw_tensors() -> None:
    answer = ask(StubHost(), "ModelInfer", call(version=DIGEST[:12]))
    assert (answer.id, answer.model_version) == ("r1", DIGEST[:12])
    assert [(output.name, list(output.shape)) for output in answer.outputs] == [
        ("probabilities", [2, 2]),
        ("score", [2]),
        ("order", [2]),
    ]
    assert [len(raw) for raw in answer.raw_output_contents] == [16, 8, 8]


def test_another_version_is_not_found() -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        ask(StubHost(), "ModelInfer", call(version="2"))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_readiness_is_of_the_version_that_is_asked_for() -> None:
    assert ask(StubHost(), "ModelReady", pb.ModelReadyRequest(name="mgoe", version=DIGEST)).ready
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        ask(StubHost(), "ModelReady", pb.ModelReadyRequest(name="mgoe", version="2"))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_the_callers_deadline_counts_where_it_is_the_sooner() -> None:
    host = StubHost()
    ask(host, "ModelInfer", call(), timeout=0.8)
    ask(host, "ModelInfer", call(), timeout=30)
    assert host.deadlines[0] is not None
    assert 0 < host.deadlines[0] < 0.9  # gRPC rounds it up
    assert host.deadlines[1] == 1.0


def test_loading_by_api_needs_its_switch() -> None:
    message = pb.RepositoryModelLoadRequest(model_name="mgoe")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        ask(StubHost(), "RepositoryModelLoad", message)
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
    host = StubHost()
    assert ask(host, "RepositoryModelLoad", message, reload_by_api=True).isLoaded
    assert host.swapped == ["/bundle"]
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        ask(StubHost(error=NotReady("file x is broken")), "RepositoryModelLoad", message, reload_by_api=True)
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.UNAVAILABLE, "file x is broken")


@pytest.mark.parametrize("broken", ["shape", "name", "both", "datatype"])
def test_a_large_part_of_a_message_is_an_invalid_argument_with_a_short_sentence(broken: str) -> None:
    message = pb.ModelInferRequest(model_name="mgoe")
    entry = message.inputs.add(name="user", datatype="BYTES", shape=[1])
    entry.contents.bytes_contents.append(b"u")
    if broken == "shape":
        entry.shape.extend([9] * 400_000)
    elif broken == "datatype":
        entry.datatype = "x" * 10**6
    else:
        entry.name = "n" * 10**6
    if broken == "both":
        message.raw_input_contents.append(b"u")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        ask(StubHost(), "ModelInfer", message)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert len(refused.value.details()) < 300
