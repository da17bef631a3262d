"""A visit as a ranking request of either protocol, and the order that an answer brings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import orjson

from serving.traffic.click_model import Int64, is_order
from serving.traffic.visits import Visit

Protocol = Literal["v1", "v2"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)


class AnswerError(ValueError):
    """An answer that orders nothing; the message says what it lacks."""


@dataclass(frozen=True)
class RankingCall:
    """model: the name under which the rankers serve."""

    protocol: Protocol
    model: str
    multi: frozenset[str] = frozenset()
    """Context features of several values."""

    @property
    def path(self) -> str:
        return f"/v1/models/{self.model}:predict" if self.protocol == "v1" else f"/v2/models/{self.model}/infer"

    def body(self, visit: Visit, request_id: str) -> bytes:
        """The request as JSON."""
        if self.protocol == "v1":
            instance: dict[str, Any] = {"user": visit.unit, "items": visit.items, "time": visit.time}
            if visit.context:
                instance["context"] = visit.context
            return orjson.dumps({"instances": [instance | {"request_id": request_id}]})
        inputs = [
            _tensor("user", "BYTES", [visit.unit]),
            _tensor("items", "BYTES", list(visit.items)),
            _tensor("time", "FP64", [visit.time]),
            *(self._context(name, value) for name, value in visit.context.items()),
        ]
        return orjson.dumps({"id": request_id, "inputs": inputs, "outputs": [{"name": "order"}]})

    def order(self, body: bytes, n: int) -> Int64:
        """Indices of the n candidates, best first. Raises AnswerError."""
        try:
            document = orjson.loads(body)
            found = _order_v1(document) if self.protocol == "v1" else _order_v2(document)
        except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, StopIteration) as error:
            raise AnswerError(f"no order in the answer: {error!r}"[:200]) from None
        if not isinstance(found, list) or not all(type(place) is int for place in found) or not is_order(found, n):
            raise AnswerError(f"the answer's order does not name each of {n} candidates once: {found!r}"[:200])
        return np.array(found, np.int64)

    def _context(self, name: str, value: object) -> dict[str, Any]:
        values = value if name in self.multi and isinstance(value, list) else [value]
        numeric = isinstance(value, float)
        return _tensor(f"context.{name}", "FP64" if numeric else "BYTES", values)


def _tensor(name: str, datatype: str, data: list[Any]) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data}


def _order_v1(document: Any) -> object:
    return document["predictions"][0]["order"]


def _order_v2(document: Any) -> object:
    outputs: list[Mapping[str, Any]] = document["outputs"]
    return next(output["data"] for output in outputs if output["name"] == "order")
