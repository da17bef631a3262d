"""A real HTTP ranker of one arm that orders candidates by what it was told of them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.serving.gateway.upstream import Upstream

Score = Callable[[str, str], float]
"""Of (user, item): higher is better."""


@dataclass
class SmallRanker(Upstream):
    """Speaks both protocols as far as an order goes; where there is no gateway, it stands for one of a single arm.

    bodies: what it was asked."""

    score: Score = lambda _, __: 0.0
    bodies: list[dict[str, Any]] = field(default_factory=list)

    async def rank(self, request: Request) -> Response:
        if request.url.path == "/gateway/ready":
            return JSONResponse({})
        plain = await super().rank(request)
        if plain.status_code != 200:
            return plain
        body = await request.json()
        self.bodies.append(body)
        headers = {"x-mgoe-arm": self.arm, "x-mgoe-digest": self.digest, "x-mgoe-exposure-id": str(uuid.uuid4())}
        if "instances" in body:
            asked = body["instances"][0]
            order = self.order(asked["user"], asked["items"])
            return JSONResponse({"predictions": [{"order": order}]}, headers=headers)
        inputs = {each["name"]: each["data"] for each in body["inputs"]}
        order = self.order(inputs["user"][0], inputs["items"])
        output = {"name": "order", "datatype": "INT32", "shape": [len(order)], "data": order}
        return JSONResponse({"outputs": [output]}, headers=headers)

    def order(self, user: str, items: list[str]) -> list[int]:
        return sorted(range(len(items)), key=lambda place: -self.score(user, items[place]))
