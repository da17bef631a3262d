"""gRPC of the KServe model server: kserve's own service (inference.GRPCInferenceService), with the ranker behind it."""
# ruff: noqa: N802  # names of the protocol

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb  # type: ignore[import-untyped]
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as pb_grpc

from serving.ranker.kserve_model import RankerDataPlane, RankerRepository
from serving.ranker.kserve_rest import answer_headers
from serving.ranker.kserve_tensors import json_of_message, raw_of
from serving.ranker.open_inference import v2_parameters, v2_request, v2_tensors, v2_wanted
from serving.ranker.refusal import NotReady, Refusal, RequestError

_STATUS = {
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""By HTTP status; every other 4xx is INVALID_ARGUMENT."""

Context = Any
"""grpc.aio.ServicerContext; its stubs are not complete."""


class RankerServicer(pb_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Open Inference Protocol v2."""

    def __init__(self, repository: RankerRepository, deadline_s: float, reload_by_api: bool) -> None:
        self.repository = repository
        self.data_plane = RankerDataPlane(repository)
        self.deadline_s = deadline_s
        self.reload_by_api = reload_by_api

    async def ServerLive(self, request: Any, context: Context) -> Any:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Context) -> Any:
        return pb.ServerReadyResponse(ready=await self.data_plane.ready())

    async def ModelReady(self, request: Any, context: Context) -> Any:
        model = self.repository.named(request.name, request.version)
        return pb.ModelReadyResponse(ready=await model.healthy())

    async def ServerMetadata(self, request: Any, context: Context) -> Any:
        return pb.ServerMetadataResponse(**self.data_plane.metadata())

    async def ModelMetadata(self, request: Any, context: Context) -> Any:
        found = self.repository.named(request.name, request.version).metadata()
        return pb.ModelMetadataResponse(
            **{key: found[key] for key in ("name", "versions", "platform", "inputs", "outputs")}
        )

    async def ModelInfer(self, request: Any, context: Context) -> Any:
        model = self.repository.named(request.model_name, request.model_version)
        call = json_of_message(request, model.limits)
        wanted = v2_wanted(call)
        asked = model.parse(v2_request(call, model.current.context_features, model.limits))
        [answer] = await model.rank([asked], self._deadline(context))
        context.set_trailing_metadata(tuple(answer_headers([answer]).items()))
        tensors = v2_tensors(answer, wanted)
        return pb.ModelInferResponse(
            model_name=model.name,
            model_version=answer.digest[:12],
            id=asked.request_id or answer.exposure_id,
            parameters={name: pb.InferParameter(string_param=text) for name, text in v2_parameters(answer).items()},
            outputs=[
                pb.ModelInferResponse.InferOutputTensor(name=name, datatype=datatype, shape=array.shape)
                for name, datatype, array in tensors
            ],
            raw_output_contents=[raw_of(array) for _, _, array in tensors],
        )

    async def RepositoryModelLoad(self, request: Any, context: Context) -> Any:
        model = self.repository.named(request.model_name)
        if not self.reload_by_api:
            raise RequestError("loading by API is off; start the server with --reload-api, or send it SIGHUP", 403)
        await model.reload()
        return pb.RepositoryModelLoadResponse(model_name=model.name, isLoaded=True)

    async def RepositoryModelUnload(self, request: Any, context: Context) -> Any:
        raise RequestError("this server has one model and keeps it; stop the server instead", 403)

    def _deadline(self, context: Context) -> float:
        left = context.time_remaining()
        return self.deadline_s if left is None else max(min(self.deadline_s, left), 1e-3)


class RefusalInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refusals become statuses with their sentence, and so do bytes that are no message.

    grpc itself answers such bytes with INTERNAL and a traceback in the log.
    """

    def __init__(self, repository: RankerRepository) -> None:
        self.model = repository.model

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def answer(request: bytes, context: Context) -> Any:
            try:
                return await handler.unary_unary(_decoded(handler.request_deserializer, request), context)
            except Refusal as refusal:
                self.model.count_refusal(refusal)
                await context.abort(_STATUS.get(refusal.status, grpc.StatusCode.INVALID_ARGUMENT), str(refusal))
            except NotReady as error:
                await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

        return grpc.unary_unary_rpc_method_handler(answer, None, handler.response_serializer)


def _decoded(deserialize: Callable[[bytes], Any], request: bytes) -> Any:
    try:
        return deserialize(request)
    except DecodeError:
        raise RequestError("the bytes are no message of this method") from None


def grpc_server(
    repository: RankerRepository, address: str, *, deadline_s: float, reload_by_api: bool, in_flight: int = 512
) -> tuple[Any, int]:
    """A server bound to `address` (host:port), not started, and its port. Raises OSError where it cannot be bound."""
    most = repository.model.limits.body_bytes
    server = grpc.aio.server(
        interceptors=(RefusalInterceptor(repository),),
        maximum_concurrent_rpcs=in_flight,
        options=(
            ("grpc.max_receive_message_length", most),
            ("grpc.max_send_message_length", -1),
            # A second server on the same port is an error, not a silent partner.
            ("grpc.so_reuseport", 0),
        ),
    )
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(RankerServicer(repository, deadline_s, reload_by_api), server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"gRPC cannot listen on {address}: {str(error).splitlines()[0]}") from None
    return server, port
