"""Tensors that come and go in binary: in protobuf, and behind the JSON of an HTTP body.

Inputs become the JSON form that `open_inference.v2_request` reads. What comes in is not trusted: every mistake is a
RequestError with a sentence. Source: Open Inference Protocol, specification "inference_grpc", and the binary tensor
data extension, https://github.com/kserve/open-inference-protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.ranker.open_inference import (
    MOST_DIMENSIONS,
    Json,
    encode,
    most_values,
    refuse_many,
    require_few_inputs,
)
from serving.ranker.refusal import RequestError, shown
from serving.ranker.settings import Limits

BYTES = "BYTES"
_LIMITS = Limits()
_LENGTH = 4
"""Bytes before a text that hold its length."""
_DTYPES: Mapping[str, str] = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_FIELDS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
"""Field of InferTensorContents by datatype."""


def with_binary(body: object, tail: bytes, limits: Limits = _LIMITS) -> object:
    """The body with the inputs that say `binary_data_size` filled from `tail`, the bytes behind the JSON, in order."""
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), list):
        return body
    require_few_inputs(len(body["inputs"]))
    inputs, taken = [], 0
    for tensor in body["inputs"]:
        size = _parameter(tensor, "binary_data_size")
        if size is None:
            inputs.append(tensor)
            continue
        if "data" in tensor:
            raise RequestError("an input comes both as `data` and with `binary_data_size`; send one of them")
        # bool is an int to Python; as a size it is a mistake.
        if type(size) is not int or not 0 <= size <= len(tail) - taken:
            raise RequestError("`binary_data_size` of an input must be a number of bytes that follow the JSON")
        raw, taken = tail[taken : taken + size], taken + size
        inputs.append({**tensor, "data": _raw_values(raw, tensor.get("datatype"), most_values(limits))})
    if taken != len(tail):
        raise RequestError(f"{len(tail) - taken} bytes behind the JSON belong to no input; name `binary_data_size`")
    return {**body, "inputs": inputs}


def binary_outputs(body: object, wanted: Sequence[str]) -> frozenset[str]:
    """The wanted outputs that the caller wants as bytes behind the JSON."""
    if _parameter(body, "binary_data_output") is True:
        return frozenset(wanted)
    asked = body.get("outputs") if isinstance(body, dict) else None
    return frozenset(each["name"] for each in asked or () if _parameter(each, "binary_data") is True)


def write_answer(answer: Json, binary: frozenset[str]) -> tuple[bytes, int | None]:
    """The answer's bytes, and how many of them are JSON where others follow; None where all are."""
    if not binary:
        return encode(answer), None
    outputs, raws = [], []
    for output in answer["outputs"]:
        if output["name"] in binary:
            raws.append(_little(output["data"]))
            rest = {key: value for key, value in output.items() if key != "data"}
            outputs.append(rest | {"parameters": {"binary_data_size": len(raws[-1])}})
        else:
            outputs.append(output)
    head = encode(answer | {"outputs": outputs})
    return b"".join((head, *raws)), len(head)


def json_of_message(message: Any, limits: Limits = _LIMITS) -> Json:  # a ModelInferRequest
    """The JSON form of a ModelInferRequest."""
    require_few_inputs(len(message.inputs))
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise RequestError(f"{len(message.inputs)} inputs but {len(raw)} raw_input_contents; send one for each input")
    most = most_values(limits)
    inputs = []
    for place, tensor in enumerate(message.inputs):
        if raw and tensor.HasField("contents"):
            raise RequestError(f"input {shown(tensor.name)} comes both in `contents` and raw; send one of them")
        data = _raw_values(raw[place], tensor.datatype, most) if raw else _contents(tensor, most)
        inputs.append(
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape[: MOST_DIMENSIONS + 1]),
                "data": data,
            },
        )
    outputs = [{"name": output.name} for output in message.outputs]
    return {"inputs": inputs, "outputs": outputs} | ({"id": message.id} if message.id else {})


def raw_of(array: np.ndarray[Any, Any]) -> bytes:
    """An output's raw_output_contents."""
    return _little(array)


def _raw_values(raw: bytes, datatype: object, most: int) -> list[Any]:
    if datatype == BYTES:
        return _texts(raw, most)
    name = _DTYPES.get(datatype) if isinstance(datatype, str) else None
    if name is None:
        raise RequestError(f"datatype {shown(datatype)} is unknown; known are BYTES, {', '.join(_DTYPES)}")
    dtype = np.dtype(name)
    if len(raw) % dtype.itemsize:
        raise RequestError(f"{len(raw)} raw bytes are no whole number of {datatype} values")
    if len(raw) // dtype.itemsize > most:
        refuse_many("in binary", most)
    values: list[Any] = np.frombuffer(raw, dtype).tolist()
    return values


def _texts(raw: bytes, most: int) -> list[str]:
    """Texts, each behind its length, little end first."""
    texts: list[str] = []
    place = 0
    while place < len(raw):
        if len(texts) == most:
            refuse_many("in binary", most)
        start = place + _LENGTH
        end = start + int.from_bytes(raw[place:start], "little")
        if start > len(raw) or end > len(raw):
            raise RequestError("the raw bytes of an input end within a value; each value is its length and its text")
        texts.append(_utf8(raw[start:end]))
        place = end
    return texts


def _contents(tensor: Any, most: int) -> list[Any]:  # an InferInputTensor
    field = _FIELDS.get(tensor.datatype)
    if field is None:
        raise RequestError(f"input {shown(tensor.name)} of datatype {shown(tensor.datatype)} cannot come in `contents`")
    held = getattr(tensor.contents, field)
    if len(held) > most:
        refuse_many(tensor.name, most)
    values = list(held)
    return [_utf8(value) for value in values] if tensor.datatype == BYTES else values


def _utf8(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise RequestError("an input holds a text that is no UTF-8") from None


def _parameter(holder: object, name: str) -> object:
    parameters = holder.get("parameters") if isinstance(holder, dict) else None
    return parameters.get(name) if isinstance(parameters, dict) else None


def _little(array: np.ndarray[Any, Any]) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
