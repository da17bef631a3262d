"""How a request travels to a server and its answer back: JSON of the peers, Open Inference Protocol v2, gRPC."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.serving import grpc_load
from benchmarks.serving.grpc_load import GrpcTarget
from benchmarks.serving.load import Reachable, Target
from serving.ranker.request import RankRequest

MODEL = "ranker"
"""Name of the served model in paths."""
JSON_LENGTH = "Inference-Header-Content-Length"
"""Of the binary tensor data extension: how many bytes of a body are JSON."""
JSON_TYPE = {"Content-Type": "application/json"}
Sent = tuple[Mapping[str, str], bytes]
"""Headers and body."""


@dataclass(frozen=True)
class Transport:
    """write: a request's headers and body. read: an answer's probabilities, in any shape, from headers and body."""

    name: str
    path: str
    write: Callable[[RankRequest], Sent]
    read: Callable[[Mapping[str, str], bytes], Any]
    grpc: bool = False

    def target(self, ports: Sequence[int], requests: Sequence[RankRequest]) -> Reachable:
        written = [self.write(request) for request in requests]
        bodies = tuple(body for _, body in written)
        if self.grpc:
            return GrpcTarget(tuple(ports), bodies)
        return Target.of(ports, self.path, bodies, [headers for headers, _ in written])

    def answer(self, port: int, request: RankRequest) -> Any:
        """Probabilities of one request. Raises RuntimeError where the status is not 200."""
        headers, body = self.write(request)
        if self.grpc:
            return self.read({}, grpc_load.call(port, body))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("POST", self.path, body, dict(headers))
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{self.name} answers {answer.status}: {text[:300]!r}")
        return self.read({name.lower(): value for name, value in answer.getheaders()}, text)


def plain_body(request: RankRequest) -> bytes:
    body = {
        "user": request.user,
        "items": list(request.items),
        "time": request.time,
        "context": dict(request.context),
    }
    return json.dumps(body).encode()


def _plain(request: RankRequest) -> Sent:
    return JSON_TYPE, plain_body(request)


def _inputs(request: RankRequest) -> list[tuple[str, str, list[Any]]]:
    """Name, datatype and values."""
    return [
        ("user", "BYTES", [request.user]),
        ("items", "BYTES", list(request.items)),
        ("time", "FP64", [request.time]),
        *((f"context.{name}", "BYTES", [value]) for name, value in request.context.items()),
    ]


def _v2_json(request: RankRequest) -> Sent:
    inputs = [
        {"name": name, "datatype": datatype, "shape": [len(values)], "data": values}
        for name, datatype, values in _inputs(request)
    ]
    return JSON_TYPE, json.dumps({"inputs": inputs}).encode()


def _v2_binary(request: RankRequest) -> Sent:
    """All inputs and all outputs behind the JSON."""
    inputs, raws = [], []
    for name, datatype, values in _inputs(request):
        raws.append(_raw(datatype, values))
        parameters = {"binary_data_size": len(raws[-1])}
        inputs.append({"name": name, "datatype": datatype, "shape": [len(values)], "parameters": parameters})
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", JSON_LENGTH: str(len(head))}
    return headers, b"".join([head, *raws])


def _raw(datatype: str, values: Sequence[Any]) -> bytes:
    """Numbers little-endian; texts each behind their length in four bytes."""
    if datatype == "FP64":
        return np.asarray(values, "<f8").tobytes()
    texts = [str(value).encode() for value in values]
    return b"".join(len(text).to_bytes(4, "little") + text for text in texts)


def _grpc(request: RankRequest) -> Sent:
    return {}, grpc_load.message(request, model=MODEL)


def _of_rows(_: Mapping[str, str], body: bytes) -> Any:
    return json.loads(body)["probabilities"]


def _of_v2(_: Mapping[str, str], body: bytes) -> Any:
    (found,) = (output for output in json.loads(body)["outputs"] if output["name"] == "probabilities")
    return np.asarray(found["data"]).reshape(found["shape"])


def _of_binary(headers: Mapping[str, str], body: bytes) -> Any:
    at = int(headers[JSON_LENGTH.lower()])
    for output in json.loads(body[:at])["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size", 0)
        if output["name"] == "probabilities":
            return np.frombuffer(body[at : at + size], "<f4").reshape(output["shape"])
        at += size
    raise RuntimeError("an answer without probabilities")


def _of_message(_: Mapping[str, str], message: Any) -> Any:
    place = [output.name for output in message.outputs].index("probabilities")
    return np.frombuffer(message.raw_output_contents[place], "<f4").reshape(message.outputs[place].shape)


PLAIN_JSON = partial(Transport, "JSON", write=_plain, read=_of_rows)
"""With the path of the peer."""
_INFER = f"/v2/models/{MODEL}/infer"
REST_JSON = Transport("REST, JSON", _INFER, _v2_json, _of_v2)
REST_BINARY = Transport("REST, binary tensors", _INFER, _v2_binary, _of_binary)
GRPC = Transport("gRPC", "", _grpc, _of_message, grpc=True)
