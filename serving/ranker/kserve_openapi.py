"""What the OpenAPI description says of request bodies."""

from __future__ import annotations

from serving.ranker.open_inference import Json

_TENSOR: Json = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string", "description": "user, items, time, context.<feature> or utility.<task>"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string", "enum": ["BYTES", "BOOL", "INT32", "INT64", "FP32", "FP64"]},
        "data": {"type": "array", "items": {}},
        "parameters": {"type": "object"},
    },
}
_CALL: Json = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object", "properties": {"binary_data_output": {"type": "boolean"}}},
        "inputs": {"type": "array", "items": _TENSOR, "minItems": 2},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "enum": ["probabilities", "score", "order"]},
                    "parameters": {"type": "object", "properties": {"binary_data": {"type": "boolean"}}},
                },
            },
        },
    },
}
_ID: Json = {
    "type": ["string", "integer"],
    "minLength": 1,
    "exclusiveMinimum": -(10**18),
    "exclusiveMaximum": 10**18,
    "description": "a text, or a whole number of up to 18 digits: the id with these digits",
}
_INSTANCE: Json = {
    "type": "object",
    "required": ["user", "items"],
    "additionalProperties": False,
    "properties": {
        "user": _ID,
        "items": {"type": "array", "items": _ID, "minItems": 1},
        "context": {"type": "object", "description": "raw values of the log's context features, by name"},
        "time": {"type": "number", "description": "unix seconds; absent: now"},
        "utility": {"type": "object", "additionalProperties": {"type": "number"}},
        "request_id": _ID,
    },
}
_INSTANCES: Json = {
    "type": "object",
    "required": ["instances"],
    "properties": {"instances": {"type": "array", "items": _INSTANCE, "minItems": 1}},
}


def _described(schema: Json) -> Json:
    refusals = {
        "400": "not a ranking request; `error` says why",
        "404": "no such model or version",
        "408": "the body came too slowly",
        "413": "the body or the list of candidates is too large",
        "415": "the body is encoded",
        "422": "a value is out of its range",
        "429": "the queue is full",
        "503": "no bundle serves",
        "504": "the deadline passed",
    }
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {status: {"description": text} for status, text in refusals.items()},
    }


V1_BODY = _described(_INSTANCES)
V2_BODY = _described(_CALL)
