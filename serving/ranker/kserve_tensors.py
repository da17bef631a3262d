"""Open Inference Protocol v2: named tensors in JSON, in binary behind JSON, or in protobuf, as plain values.

Everything here comes from outside, so every mistake in it is a RequestError with a sentence.
Source: https://github.com/kserve/open-inference-protocol, and its binary tensor data extension.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from serving.ranker.refusal import RequestError

DTYPES: Mapping[str, str] = {
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
"""numpy's name of each fixed-size datatype; BYTES has none."""
BYTES = "BYTES"
_LONGEST_SHAPE = 8
_LENGTH_BYTES = 4


@dataclass(frozen=True)
class Tensor:
    """One input: its values, row by row. BYTES arrive as text."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Sequence[object]


@dataclass(frozen=True)
class RequestedOutput:
    """An output that the caller wants, as text in JSON or as bytes behind it. binary: None where it is not said."""

    name: str
    binary: bool | None = None


@dataclass(frozen=True)
class Call:
    """A v2 inference request of any transport."""

    request_id: str | None
    parameters: Mapping[str, object]
    inputs: tuple[Tensor, ...]
    outputs: tuple[RequestedOutput, ...] = ()


class InferMessage(Protocol):
    """What is read of a ModelInferRequest message."""

    id: str
    parameters: Any
    inputs: Any
    outputs: Any
    raw_input_contents: Any


def call_of_json(value: object, binary: bytes = b"") -> Call:
    """The call in a JSON object; binary: what stood behind it, cut among the inputs by their `binary_data_size`."""
    body = _object(value, "the body")
    entries = _list(body.get("inputs"), "`inputs`")
    tail = _Tail(binary)
    inputs = tuple(_tensor_of_json(entry, tail) for entry in entries)
    if tail.left:
        raise RequestError(f"{tail.left} bytes behind the JSON belong to no input; give each its `binary_data_size`")
    parameters = _object(body.get("parameters", {}), "`parameters`")
    everything = _flag(parameters.get("binary_data_output", False), "`binary_data_output`")
    outputs = tuple(_requested(entry, everything) for entry in _list(body.get("outputs") or [], "`outputs`"))
    request_id = body.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise RequestError("`id` must be a text")
    return Call(request_id or None, parameters, inputs, outputs)


def call_of_message(message: InferMessage) -> Call:
    """The call in a ModelInferRequest."""
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise RequestError(f"{len(message.inputs)} inputs but {len(raw)} raw_input_contents; send one for each input")
    inputs = []
    for place, entry in enumerate(message.inputs):
        shape = _shape(list(entry.shape), entry.name)
        if raw and entry.HasField("contents"):
            raise RequestError(f"input {entry.name!r} comes both in `contents` and raw; send one of them")
        values = _raw_values(raw[place], entry.datatype, entry.name) if raw else _contents(entry)
        inputs.append(_tensor(entry.name, entry.datatype, shape, values))
    outputs = tuple(RequestedOutput(entry.name) for entry in message.outputs)
    return Call(message.id or None, _parameters(message.parameters), tuple(inputs), outputs)


def size_of(shape: Sequence[int]) -> int:
    return math.prod(shape)


def _tensor_of_json(value: object, tail: _Tail) -> Tensor:
    entry = _object(value, "an input")
    name = _text(entry.get("name"), "an input's `name`")
    datatype = _text(entry.get("datatype"), f"the datatype of input {name!r}")
    shape = _shape(entry.get("shape"), name)
    size = _object(entry.get("parameters") or {}, f"`parameters` of input {name!r}").get("binary_data_size")
    if size is not None:
        if "data" in entry:
            raise RequestError(f"input {name!r} comes both as `data` and as binary; send one of them")
        return _tensor(name, datatype, shape, _raw_values(tail.take(size, name), datatype, name))
    values = _flat(entry.get("data"), name)
    for each in values:
        _check_json_value(each, datatype, name)
    return _tensor(name, datatype, shape, values)


def _tensor(name: str, datatype: str, shape: tuple[int, ...], values: Sequence[object]) -> Tensor:
    if size_of(shape) != len(values):
        raise RequestError(
            f"input {name!r} has shape {list(shape)}, which is {size_of(shape)} values, but holds {len(values)}"
        )
    return Tensor(name, datatype, shape, values)


class _Tail:
    """Bytes behind the JSON, taken from the front."""

    def __init__(self, binary: bytes) -> None:
        self._binary = binary
        self._taken = 0

    @property
    def left(self) -> int:
        return len(self._binary) - self._taken

    def take(self, size: object, name: str) -> bytes:
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= self.left:
            raise RequestError(f"`binary_data_size` of input {name!r} must be a number of bytes that follow the JSON")
        start, self._taken = self._taken, self._taken + size
        return self._binary[start : self._taken]


def _raw_values(raw: bytes, datatype: str, name: str) -> Sequence[object]:
    if datatype == BYTES:
        return _texts(raw, name)
    dtype = np.dtype(_dtype(datatype, name))
    if len(raw) % dtype.itemsize:
        raise RequestError(f"input {name!r} holds {len(raw)} raw bytes, which is no whole number of {datatype} values")
    values: list[object] = np.frombuffer(raw, dtype).tolist()
    return values


def _texts(raw: bytes, name: str) -> list[str]:
    """Texts, each behind its length in four bytes, little end first."""
    texts, place = [], 0
    while place < len(raw):
        start = place + _LENGTH_BYTES
        end = start + int.from_bytes(raw[place:start], "little")
        if start > len(raw) or end > len(raw):
            raise RequestError(f"the raw bytes of input {name!r} end within a value; each is its length and its text")
        texts.append(_utf8(raw[start:end], name))
        place = end
    return texts


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


def _contents(entry: Any) -> Sequence[object]:  # a protobuf message
    field = _FIELDS.get(entry.datatype)
    if field is None:
        raise RequestError(f"input {entry.name!r} of datatype {entry.datatype!r} cannot come in `contents`")
    values = list(getattr(entry.contents, field))
    if entry.datatype == BYTES:
        return [_utf8(value, entry.name) for value in values]
    return values


def _parameters(found: Any) -> dict[str, object]:  # a protobuf map
    chosen = {name: value.WhichOneof("parameter_choice") for name, value in found.items()}
    return {name: getattr(found[name], choice) for name, choice in chosen.items() if choice}


def _requested(value: object, everything: bool) -> RequestedOutput:
    entry = _object(value, "an output")
    name = _text(entry.get("name"), "an output's `name`")
    parameters = _object(entry.get("parameters") or {}, f"`parameters` of output {name!r}")
    return RequestedOutput(name, _flag(parameters.get("binary_data", everything), f"`binary_data` of output {name!r}"))


def _check_json_value(value: object, datatype: str, name: str) -> None:
    if datatype == BYTES:
        fits = isinstance(value, str)
    elif datatype == "BOOL":
        fits = isinstance(value, bool)
    elif _dtype(datatype, name)[1] == "f":
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        limits = np.iinfo(DTYPES[datatype])
        fits = isinstance(value, int) and not isinstance(value, bool) and limits.min <= value <= limits.max
    if not fits:
        raise RequestError(f"input {name!r} is {datatype}, but one of its values is {_brief(value)}")


def _flat(value: object, name: str) -> list[object]:
    """Row by row; the protocol allows nested lists and flat ones."""
    if not isinstance(value, list):
        raise RequestError(f"`data` of input {name!r} must be a list")
    level: list[object] = value
    for _ in range(_LONGEST_SHAPE):
        if not any(isinstance(each, list) for each in level):
            return level
        if not all(isinstance(each, list) for each in level):
            break
        level = [each for row in level if isinstance(row, list) for each in row]
    raise RequestError(f"`data` of input {name!r} mixes values and lists, or nests deeper than {_LONGEST_SHAPE} lists")


def _shape(value: object, name: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= _LONGEST_SHAPE:
        raise RequestError(f"the shape of input {name!r} must be a list of 1 to {_LONGEST_SHAPE} sizes")
    for size in value:
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < 2**31:
            raise RequestError(f"the shape of input {name!r} holds {_brief(size)}, which is no size")
    return tuple(value)


def _dtype(datatype: str, name: str) -> str:
    if datatype not in DTYPES:
        raise RequestError(f"input {name!r} has datatype {_brief(datatype)}; known are BYTES, {', '.join(DTYPES)}")
    return DTYPES[datatype]


def _utf8(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise RequestError(f"input {name!r} holds a text that is no UTF-8") from None


def _object(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise RequestError(f"{what} must be an object")
    return value


def _list(value: object, what: str) -> Sequence[object]:
    if not isinstance(value, list):
        raise RequestError(f"{what} must be a list")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise RequestError(f"{what} must be a text")
    return value


def _flag(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise RequestError(f"{what} must be true or false")
    return value


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
