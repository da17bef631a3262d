"""Ranking over the model servers' protocols: Open Inference Protocol (V2) and KServe's V1. Pure: JSON values only.

Source: Open Inference Protocol, https://github.com/kserve/open-inference-protocol, specification "inference_rest".

V1. {"instances": [request, ...]} -> {"predictions": [answer, ...]}; a request is the object that
`validation.parse_request` reads, an answer is `answer_object`.

V2. One call ranks the candidates of one user. Inputs:
    user               BYTES or an integer type [1]
    items              BYTES or an integer type [N]
    time               a numeric type [1]; absent: now
    context.<feature>  [1], or [M] for a multi-valued feature; BYTES or numeric
    utility.<task>     a numeric type [1]; absent for all tasks: the bundle's own weights
Outputs (a call's `outputs` choose among them): probabilities FP32 [N, T], score FP32 [N], order INT32 [N]; the
parameters name digest, tasks (one comma-separated text), exposure_id and, where the server plays one, arm.

Legend: N candidates, T tasks, M values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import orjson

from model.data.schema import Feature
from serving.ranker.refusal import RequestError, shown
from serving.ranker.request import RankAnswer
from serving.ranker.settings import Limits

Json = dict[str, Any]
"""An object as JSON has it; numpy arrays may stand in it for lists of numbers."""

CONTEXT = "context."
UTILITY = "utility."
OUTPUTS = ("probabilities", "score", "order")
MOST_DIMENSIONS = 4
"""Of an input's shape; lists of ids and values need one."""

_MOST_INPUTS = 1024
_LIMITS = Limits()
_RANGES: Mapping[str, tuple[int, int]] = {
    **{f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
}
"""First and last number of the integer types."""
_KINDS: Mapping[str, set[type]] = {
    "BYTES": {str},
    "BOOL": {bool},
    **{f"FP{bits}": {int, float} for bits in (16, 32, 64)},
}
_NUMBERS = {*_RANGES, "FP16", "FP32", "FP64"}
_IDS = {*_RANGES, "BYTES"}


def encode(document: Json) -> bytes:
    """JSON text; float32 arrays (contiguous) are written with the fewest digits that read back as the same float32."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def v1_requests(body: object, most: int = 64, candidates: int = Limits().candidates) -> list[object]:
    """The requests of a V1 call, for `parse_request`.

    Raises RequestError where there are none, more than `most`, or more than `candidates` among them all: counted before
    any is parsed.
    """
    if not isinstance(body, dict) or not isinstance(body.get("instances"), list):
        raise RequestError('the body must be an object with "instances", a list of ranking requests')
    instances: list[object] = body["instances"]
    if not 1 <= len(instances) <= most:
        raise RequestError(f'"instances" has {len(instances)} ranking requests; send 1 to {most}')
    lists = (each.get("items") for each in instances if isinstance(each, dict))
    rows = sum(len(items) for items in lists if isinstance(items, list))
    if rows > candidates:
        raise RequestError(
            f"the requests hold {rows} candidates together; one call takes up to {candidates}", 413, "candidates"
        )
    return instances


def v1_answer(answers: Iterable[RankAnswer]) -> Json:
    """The body of a V1 answer."""
    return {"predictions": [answer_object(answer) for answer in answers]}


def answer_object(answer: RankAnswer) -> Json:
    """A whole answer as one object."""
    document: Json = {
        "digest": answer.digest,
        "tasks": list(answer.tasks),
        "probabilities": np.ascontiguousarray(answer.probabilities),
        "score": np.ascontiguousarray(answer.score),
        "order": np.ascontiguousarray(answer.order),
        "exposure_id": answer.exposure_id,
    }
    return document | _told(arm=answer.arm, request_id=answer.request_id)


def require_few_inputs(count: int) -> None:
    """Raises RequestError beyond the cap on inputs of a V2 call: asked before any of them is read."""
    if count > _MOST_INPUTS:
        raise RequestError(f"{count} inputs; send at most {_MOST_INPUTS}", 413, "too_large")


def most_values(limits: Limits) -> int:
    """What an input of a V2 call may hold at most."""
    return max(limits.candidates, limits.context_values)


def refuse_many(name: str, most: int) -> NoReturn:
    raise RequestError(
        f"input {shown(name)} has more than {most} values; {most} candidates are the most", 413, "candidates"
    )


def v2_request(body: object, context_features: Sequence[Feature], limits: Limits = _LIMITS) -> Json:
    """The request of a V2 call, for `parse_request`. Raises RequestError on anything that is no V2 call of a ranker.

    body: {"id"?, "inputs": [{"name", "shape", "datatype", "data"}], "outputs"?}; its parameters are not read, but must
    be objects. data: one list of all values, or lists within lists as `shape` says.
    """
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), list):
        raise RequestError('the body must be an object with "inputs", a list of tensors')
    _require_parameters("the call", body)
    require_few_inputs(len(body["inputs"]))
    many = {feature.name for feature in context_features if feature.kind == "multi"}
    request: Json = {}
    for tensor in body["inputs"]:
        _take(_tensor(tensor, most_values(limits)), many, request)
    if body.get("id") is not None:
        request["request_id"] = body["id"]
    return request


def v2_wanted(body: object) -> tuple[str, ...]:
    """Names of the outputs that a V2 call asks for; all where it names none. Raises RequestError on an unknown one."""
    wanted = body.get("outputs") if isinstance(body, dict) else None
    if wanted is None or wanted == []:
        return OUTPUTS
    if not isinstance(wanted, list) or not all(isinstance(each, dict) for each in wanted):
        raise RequestError('"outputs" must be a list of objects with a "name"')
    names = [each.get("name") for each in wanted]
    for name in names:
        if name not in OUTPUTS:
            raise RequestError(f"output {shown(name)} is unknown; outputs are: {', '.join(OUTPUTS)}")
    for each in wanted:
        _require_parameters(f"output {each['name']!r}", each)
    return tuple(dict.fromkeys(names))


def v2_answer(answer: RankAnswer, model: str, call_id: str, wanted: Sequence[str] = OUTPUTS) -> Json:
    """The body of a V2 answer. model_version is the digest's first 12 characters; the whole one is a parameter."""
    return {
        "model_name": model,
        "model_version": answer.digest[:12],
        "id": call_id,
        "parameters": v2_parameters(answer),
        "outputs": [
            {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.ravel()}
            for name, datatype, array in v2_tensors(answer, wanted)
        ],
    }


def v2_parameters(answer: RankAnswer) -> dict[str, str]:
    """What an answer says beside its tensors."""
    told = {"digest": answer.digest, "tasks": ",".join(answer.tasks), "exposure_id": answer.exposure_id}
    return told | _told(arm=answer.arm)


def v2_tensors(answer: RankAnswer, wanted: Sequence[str] = OUTPUTS) -> list[tuple[str, str, np.ndarray[Any, Any]]]:
    """(name, datatype, contiguous array) of the wanted outputs, for servers that write tensors themselves."""
    arrays = {
        "probabilities": ("FP32", answer.probabilities),
        "score": ("FP32", answer.score),
        "order": ("INT32", answer.order),
    }
    return [(name, arrays[name][0], np.ascontiguousarray(arrays[name][1])) for name in wanted]


def v2_metadata(model: str, digest: str, tasks: Sequence[str], context_features: Sequence[Feature]) -> Json:
    """What a V2 server tells about its model; -1 is a size that a call decides."""
    context = [
        {
            "name": CONTEXT + feature.name,
            "datatype": "FP64" if feature.kind == "dense" else "BYTES",
            "shape": [-1 if feature.kind == "multi" else 1],
        }
        for feature in context_features
        if feature.derive is None
    ]
    weights = [{"name": UTILITY + task, "datatype": "FP64", "shape": [1]} for task in tasks]
    return {
        "name": model,
        "versions": [digest[:12]],
        "platform": "mgoe",
        "inputs": [
            {"name": "user", "datatype": "BYTES", "shape": [1]},
            {"name": "items", "datatype": "BYTES", "shape": [-1]},
            {"name": "time", "datatype": "FP64", "shape": [1]},
            *context,
            *weights,
        ],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(tasks)]},
            {"name": "score", "datatype": "FP32", "shape": [-1]},
            {"name": "order", "datatype": "INT32", "shape": [-1]},
        ],
    }


def _take(tensor: tuple[str, str, list[Any]], many: set[str], request: Json) -> None:
    """Puts one input where `parse_request` looks for it."""
    name, datatype, values = tensor
    part, dot, rest = name.partition(".")
    if name == "items":
        place, key, value = request, name, _ids(name, datatype, values)
    elif name == "user":
        place, key, value = request, name, _one(name, _ids(name, datatype, values))
    elif name == "time" or (part == "utility" and dot):
        if datatype not in _NUMBERS:
            raise RequestError(f"input {shown(name)} has datatype {shown(datatype)}; it takes a number, such as FP64")
        place, key = (request, name) if name == "time" else (request.setdefault("utility", {}), rest)
        value = _one(name, values)
    elif part == "context" and dot:
        place, key = request.setdefault("context", {}), rest
        value = values if rest in many else _one(name, values)
    else:
        raise RequestError(
            f"input {shown(name)} is unknown; inputs are: user, items, time, context.<feature>, utility.<task>"
        )
    if key in place:
        raise RequestError(f"input {shown(name)} stands there twice")
    place[key] = value


def _tensor(tensor: object, most: int) -> tuple[str, str, list[Any]]:
    """(name, datatype, values row by row) of an input tensor."""
    if not isinstance(tensor, Mapping):
        raise RequestError('every input must be an object with "name", "shape", "datatype" and "data"')
    name, datatype, shape, data = (tensor.get(key) for key in ("name", "datatype", "shape", "data"))
    if not isinstance(name, str) or not isinstance(datatype, str):
        raise RequestError('every input needs a "name" and a "datatype", both text')
    _require_parameters(f"input {shown(name)}", tensor)
    if not isinstance(data, list):
        raise RequestError(f'input {shown(name)} needs "data", a list')
    values, nested, kinds = _flat(data, name, most)
    if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS:
        raise RequestError(f'input {shown(name)} needs "shape", a list of up to {MOST_DIMENSIONS} sizes')
    wrong = [shown(size) for size in shape if not _is_size(size)]
    if wrong:
        raise RequestError(
            f"input {shown(name)} has a shape with {wrong[0]}; a size is a whole number, 0 up to the number of values"
        )
    if math.prod(shape) != len(values):
        raise RequestError(f"input {shown(name)} has shape {shape} and {len(values)} values")
    if len(nested) > 1 and nested != shape:
        raise RequestError(f"input {shown(name)} has shape {shape}, but its data is nested as {nested}")
    _require_type(name, datatype, values, kinds)
    return name, datatype, values


def _is_size(value: object) -> bool:
    # bool is an int to Python; as a size it is a mistake. Products of larger ones take a processor minutes.
    return type(value) is int and 0 <= value < 2**31


def _flat(data: list[Any], name: str, most: int) -> tuple[list[Any], list[int], set[type]]:
    """The values row by row, the sizes of the lists they are nested in, and the values' types.

    V2 lets data be nested by shape.
    """
    if len(data) > most:
        refuse_many(name, most)
    sizes, kinds = [len(data)], set(map(type, data))
    while list in kinds and len(sizes) < MOST_DIMENSIONS:
        if len(kinds) > 1 or len(set(map(len, data))) > 1:
            raise RequestError(f"input {shown(name)} has data that is nested unevenly; nest it as its shape says")
        sizes.append(len(data[0]))
        if math.prod(sizes) > most:
            refuse_many(name, most)
        data = [value for row in data for value in row]
        kinds = set(map(type, data))
    return data, sizes, kinds


def _require_parameters(what: str, holder: Mapping[str, Any]) -> None:
    parameters = holder.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise RequestError(f'"parameters" of {what} must be an object, not {shown(parameters)}')


def _require_type(name: str, datatype: str, values: list[Any], kinds: set[type]) -> None:
    """JSON lets a tensor hold what its datatype cannot."""
    if datatype in _RANGES:
        first, last = _RANGES[datatype]
        fits = kinds <= {int} and (not values or (min(values) >= first and max(values) <= last))
    elif datatype in _KINDS:
        fits = kinds <= _KINDS[datatype]
    else:
        raise RequestError(
            f"input {shown(name)} has datatype {shown(datatype)}; known are {', '.join((*_KINDS, *_RANGES))}"
        )
    if not fits:
        raise RequestError(f"input {shown(name)} holds values that are no {datatype}")


def _ids(name: str, datatype: str, values: list[Any]) -> list[Any]:
    """Ids are text; integers are written out."""
    if datatype not in _IDS:
        raise RequestError(f"input {name} has datatype {shown(datatype)}; ids are BYTES or an integer type")
    return values if datatype == "BYTES" else [str(value) for value in values]


def _one(name: str, values: list[Any]) -> Any:
    if len(values) != 1:
        raise RequestError(f"input {shown(name)} has {len(values)} values; it takes one")
    return values[0]


def _told(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}
