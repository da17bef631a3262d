"""From untrusted JSON to a RankRequest, or a RequestError that says what is wrong. All runtimes use it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import orjson

from model.data.schema import Feature
from serving.ranker.refusal import RequestError, shown
from serving.ranker.request import NOTHING, RankRequest
from serving.ranker.settings import Limits

FIELDS = ("user", "items", "context", "time", "utility", "request_id")
LATEST = 253_402_214_400
"""Unix seconds: the last day of the year 9999, in any zone."""
LARGEST_WEIGHT = 1e9
"""Of a task; the combined score stays a finite float32."""


def parse_json(body: bytes, limits: Limits) -> object:
    """The JSON value in `body`. Raises RequestError: 413 beyond the cap, 400 where it is no JSON (NaN included)."""
    if len(body) > limits.body_bytes:
        raise RequestError(
            f"the body has {len(body)} bytes; {limits.body_bytes} are the most that is read", 413, "body_size"
        )
    try:
        value: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = _parse_slowly(body)
    return value


def _parse_slowly(body: bytes) -> object:
    """What orjson refuses: Python's own parser takes a little more (UTF-16, surrogates), and says what is wrong."""
    try:
        value: object = json.loads(body, parse_constant=_refuse_constant)
    except RecursionError:
        raise RequestError("the body is nested too deeply", reason="json") from None
    except ValueError as error:  # no JSON, no UTF-8, or a number of thousands of digits
        raise RequestError(f"the body is no JSON: {error}"[:300], reason="json") from None
    return value


def parse_request(
    value: object, limits: Limits, tasks: Sequence[str], context_features: Sequence[Feature]
) -> RankRequest:
    """The request in `value` ({"user", "items", "context"?, "time"?, "utility"?, "request_id"?}).

    Ids may be texts or whole numbers, which name the same node. Raises RequestError (status 4xx, one sentence) on
    anything else.
    """
    fields = _mapping(value, "the request")
    unknown = next((name for name in fields if name not in FIELDS), None)
    if unknown is not None:
        raise RequestError(f"the request has the field {shown(unknown)}; fields are: {', '.join(FIELDS)}")
    for name in ("user", "items"):
        if name not in fields:
            raise RequestError(f"the request has no {name!r}; give a user and the items to rank")
    return RankRequest(
        user=_id(fields["user"], "user", limits),
        items=_items(fields["items"], limits),
        context=_Context(limits, context_features).parse(fields.get("context")),
        time=_time(fields.get("time")),
        utility=_utility(fields.get("utility"), tasks),
        request_id=None if fields.get("request_id") is None else _id(fields["request_id"], "request_id", limits),
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _mapping(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise RequestError(f"{what} must be a JSON object, not {shown(value)}")
    wrong = next((name for name in value if not isinstance(name, str)), None)
    if wrong is not None:
        raise RequestError(f"{what} has the name {shown(wrong)}, which is no text")
    return value


def _id(value: object, what: str, limits: Limits) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) >= 10**18:
            raise RequestError(f"{what} is a number of more than 18 digits; write it as a text", reason="id")
        return str(value)
    if not isinstance(value, str):
        raise RequestError(f"{what} must be a text, not {shown(value)}", reason="id")
    if not value:
        raise RequestError(f"{what} is empty", reason="id")
    return _text(value, what, limits.id_length, "id")


def _text(value: str, what: str, longest: int, reason: str) -> str:
    if len(value) > longest:
        raise RequestError(f"{what} has {len(value)} characters; {longest} are the most", reason=reason)
    # JSON can spell half a surrogate pair, which no encoding of text can write again.
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise RequestError(f"{what} is no valid Unicode text", reason=reason)
    return value


def _items(value: object, limits: Limits) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise RequestError(f"items must be a list of ids, not {shown(value)}", reason="candidates")
    if not value:
        raise RequestError("items is empty; name one candidate at least", reason="candidates")
    if len(value) > limits.candidates:
        raise RequestError(
            f"items has {len(value)} candidates; {limits.candidates} are the most", 413, reason="candidates"
        )
    if _are_plain_ids(value, limits):
        return tuple(value)
    return tuple(_id(item, "an item", limits) for item in value)


def _are_plain_ids(values: Sequence[object], limits: Limits) -> bool:
    """Whether `_id` would take each as it is; asked of all together, which costs a quarter of asking each."""
    try:
        whole = "\0".join(("", *values, ""))  # type: ignore[arg-type]
    except TypeError:  # not all are texts
        return False
    if not whole.isascii() or "\0\0" in whole:  # an empty one, or one that is rare enough to be asked alone
        return False
    return max(map(len, values)) <= limits.id_length  # type: ignore[arg-type]


def _time(value: object) -> float | None:
    if value is None:
        return None
    seconds = _number(value, "time", "time")
    if not 0 <= seconds < LATEST:
        raise RequestError(f"time is {shown(value)}; give unix seconds from 0 on", reason="time")
    return seconds


def _number(value: object, what: str, reason: str) -> float:
    """A finite float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestError(f"{what} must be a number, not {shown(value)}", reason=reason)
    if isinstance(value, int) and abs(value) > 10**300:
        raise RequestError(f"{what} is a number beyond all floats", reason=reason)
    number = float(value)
    if not math.isfinite(number):
        raise RequestError(f"{what} is {number}; give a finite number", reason=reason)
    return number


def _utility(value: object, tasks: Sequence[str]) -> dict[str, float] | None:
    if value is None:
        return None
    weights: dict[str, float] = {}
    for name, weight in _mapping(value, "utility").items():
        if name not in tasks:
            raise RequestError(
                f"utility names {shown(name)}, which is no task; tasks are: {', '.join(tasks)}", 422, "utility"
            )
        weights[name] = _number(weight, f"utility of {name}", "utility")
        if abs(weights[name]) > LARGEST_WEIGHT:
            raise RequestError(f"utility of {name} is beyond {LARGEST_WEIGHT:.0e}", 422, "utility")
    if not any(weights.values()):
        raise RequestError("utility has no weight other than 0, so it orders nothing", 422, "utility")
    return weights


@dataclass(frozen=True)
class _Context:
    limits: Limits
    features: Sequence[Feature]

    def parse(self, value: object) -> Mapping[str, object]:
        """Values of known features, each of a kind that the feature takes; null counts as missing."""
        if value is None:
            return NOTHING
        known = {feature.name: feature for feature in self.features}
        parsed: dict[str, object] = {}
        for name, raw in _mapping(value, "context").items():
            if name not in known:
                names = ", ".join(known) or "none"
                raise RequestError(
                    f"context names {shown(name)}, which is no feature of this model; features are: {names}",
                    422,
                    "context",
                )
            if raw is not None:
                parsed[name] = self._value(known[name], raw)
        return parsed

    def _value(self, feature: Feature, raw: object) -> object:
        what = f"context feature {feature.name}"
        if feature.kind == "dense":
            return _number(raw, what, "context")
        if feature.kind == "multi" and isinstance(raw, list | tuple):
            if len(raw) > self.limits.context_values:
                raise RequestError(
                    f"{what} has {len(raw)} values; {self.limits.context_values} are the most", reason="context"
                )
            return [self._scalar(each, f"a value of {what}") for each in raw if each is not None]
        return self._scalar(raw, what)

    def _scalar(self, raw: object, what: str) -> str | int | float | bool:
        if isinstance(raw, str):
            return _text(raw, what, self.limits.context_length, "context")
        if isinstance(raw, bool):
            return raw
        if isinstance(raw, int | float):
            number = _number(raw, what, "context")
            # As text, a whole number of hundreds of digits is no category of any log.
            return raw if isinstance(raw, int) and abs(raw) < 10**18 else number
        raise RequestError(f"{what} must be a text or a number, not {shown(raw)}", reason="context")
