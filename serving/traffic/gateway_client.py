"""The load's side of the gateway: one ranking request, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

import aiohttp

from model.errors import Fault
from serving.gateway.assignment import Arm
from serving.traffic.click_model import Int64
from serving.traffic.connection import reason_of
from serving.traffic.ranking_call import AnswerError, RankingCall
from serving.traffic.visits import Visit

_READY_S: Final = 5.0


@dataclass(frozen=True)
class Answer:
    """outcome: `ok`, a status such as `503`, or `timeout`, `connection`, `malformed`. arm: None where nothing came.

    order and exposure_id are there where the outcome is ok.
    """

    outcome: str
    arm: Arm | None
    order: Int64 | None = None
    exposure_id: str | None = None


class GatewayClient:
    """Keeps connections; never waits for one request before another."""

    def __init__(self, address: str, call: RankingCall, *, timeout_s: float, connections: int = 512) -> None:
        self.address = address.rstrip("/")
        self.call = call
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._connector = aiohttp.TCPConnector(limit=connections)
        self._session = aiohttp.ClientSession(connector=self._connector, timeout=self._timeout)

    async def close(self) -> None:
        await self._session.close()

    async def require_ready(self) -> None:
        """Raises Fault where nothing at that address is a gateway."""
        url = f"{self.address}/gateway/ready"
        try:
            async with self._session.get(url, timeout=aiohttp.ClientTimeout(total=_READY_S)) as answer:
                if answer.status != 200:
                    raise Fault(f"gateway {self.address}: /gateway/ready answers {answer.status}; 200 would be right")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Fault(f"gateway {self.address} does not answer: {reason_of(error)}") from None

    async def rank(self, visit: Visit, request_id: str) -> Answer:
        """Never raises for what a server or the network does."""
        headers = {
            "x-mgoe-unit": visit.unit,
            "x-request-id": request_id,
            "content-type": "application/json",
        }
        body = self.call.body(visit, request_id)
        try:
            async with self._session.post(self.address + self.call.path, data=body, headers=headers) as answer:
                content = await answer.read()
        except TimeoutError:
            return Answer("timeout", None)
        except aiohttp.ClientError:
            return Answer("connection", None)
        arm = answer.headers.get("x-mgoe-arm")
        named = cast("Arm", arm) if arm in {"baseline", "candidate"} else None
        if answer.status != 200:
            return Answer(str(answer.status), named)
        exposure_id = answer.headers.get("x-mgoe-exposure-id")
        try:
            order = self.call.order(content, len(visit.items))
        except AnswerError:
            return Answer("malformed", named)
        if named is None or not exposure_id:
            return Answer("malformed", named)
        return Answer("ok", named, order, exposure_id)
