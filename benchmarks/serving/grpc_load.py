"""The load generator's gRPC: whole messages out, whole messages in, neither read nor written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc  # type: ignore[import-untyped]
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb  # type: ignore[import-untyped]

from benchmarks.serving.load import TIMEOUT_S
from serving.ranker.request import RankRequest

METHOD = "/inference.GRPCInferenceService/ModelInfer"
CHANNELS = 4
"""To every port; calls of one channel share a connection."""


@dataclass(frozen=True)
class GrpcTarget:
    """As Target, for gRPC. requests: serialized messages."""

    ports: tuple[int, ...]
    requests: tuple[bytes, ...]

    def pool(self) -> GrpcPool:
        return GrpcPool(self)


class GrpcPool:
    """Channels that are opened ahead."""

    def __init__(self, target: GrpcTarget) -> None:
        self._target = target
        self._channels: list[Any] = []
        self._calls: list[Any] = []

    async def open(self, count: int) -> None:
        ports = self._target.ports
        for place in range(min(count, CHANNELS) * len(ports)):
            options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{ports[place % len(ports)]}", options)
            await channel.channel_ready()
            self._channels.append(channel)
            self._calls.append(channel.unary_unary(METHOD))

    async def ask(self, place: int) -> int:
        """200 where the call succeeds, 500 where it does not."""
        call = self._calls[place % len(self._calls)]
        try:
            await call(self._target.requests[place % len(self._target.requests)], timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return 500
        return 200

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()


def message(request: RankRequest, model: str) -> bytes:
    """A ModelInferRequest with typed contents."""

    def texts(name: str, values: Sequence[str]) -> Any:
        contents = pb.InferTensorContents(bytes_contents=[value.encode() for value in values])
        return pb.ModelInferRequest.InferInputTensor(
            name=name, datatype="BYTES", shape=[len(values)], contents=contents
        )

    moment = pb.InferTensorContents(fp64_contents=[request.time])
    inputs = [
        texts("user", [request.user]),
        texts("items", request.items),
        pb.ModelInferRequest.InferInputTensor(name="time", datatype="FP64", shape=[1], contents=moment),
        *(texts(f"context.{name}", [str(value)]) for name, value in request.context.items()),
    ]
    whole: bytes = pb.ModelInferRequest(model_name=model, inputs=inputs).SerializeToString()
    return whole


def call(port: int, request: bytes) -> Any:
    """One answer, a ModelInferResponse."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        return pb.ModelInferResponse.FromString(channel.unary_unary(METHOD)(request, timeout=TIMEOUT_S))
