"""Guardrails read from Prometheus' HTTP API."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import httpx

from serving.rollout.guardrail_queries import queries_of
from serving.rollout.readings import GuardrailReading
from serving.rollout.spec_measures import Guardrail

TIMEOUT_S = 2.0
"""Of one query: a breach has to be seen and acted upon within ten seconds."""


class _NoAnswerError(Exception):
    """Why a query gave nothing; becomes the reading's `problem`."""


class PrometheusGuardrails:
    """Asks for all guardrails of a rollout at once. What goes wrong is no error but the reading's problem."""

    def __init__(self, client: httpx.AsyncClient, selector: str | None) -> None:
        """client: with Prometheus' address as its base_url. selector: see queries_of; None: no Envoy of ours counts."""
        self._client = client
        self._selector = selector

    async def read(self, guardrails: tuple[Guardrail, ...]) -> tuple[GuardrailReading, ...]:
        """One reading for each."""
        return tuple(await asyncio.gather(*(self._read(each) for each in guardrails)))

    async def _read(self, guardrail: Guardrail) -> GuardrailReading:
        if self._selector is None and guardrail.type != "PromQL":
            problem = f"{guardrail.type} is read from our gateway, which does not split here; write a PromQL guardrail"
            return GuardrailReading(guardrail.name, None, None, None, problem)
        queries = queries_of(guardrail, self._selector or "")
        try:
            value, at = await self._value(queries.value)
            count = None if queries.count is None else (await self._value(queries.count))[0]
        except _NoAnswerError as error:
            return GuardrailReading(guardrail.name, None, None, None, problem=str(error))
        samples = None if count is None or not math.isfinite(count) else int(count)
        if queries.count is not None and count is None:
            samples = 0  # the cluster has not had a request yet
        return GuardrailReading(guardrail.name, value, samples, at)

    async def _value(self, query: str) -> tuple[float | None, float]:
        """(value, unix seconds of the evaluation); None: an empty answer."""
        try:
            answer = await self._client.get("/api/v1/query", params={"query": query}, timeout=TIMEOUT_S)
            document = answer.json()
        except httpx.HTTPError as error:
            raise _NoAnswerError(f"Prometheus does not answer: {type(error).__name__}") from error
        except ValueError as error:
            raise _NoAnswerError(f"Prometheus answers {answer.status_code} without JSON") from error
        return _single(document)


def _single(document: Any) -> tuple[float | None, float]:
    """The one value of an instant query's answer."""
    if not isinstance(document, dict) or document.get("status") != "success":
        told = document.get("error") if isinstance(document, dict) else document
        raise _NoAnswerError(f"Prometheus refuses the query: {str(told)[:200]}")
    data = document["data"]
    if data["resultType"] == "scalar":
        at, text = data["result"]
        return float(text), float(at)
    if data["resultType"] != "vector":
        raise _NoAnswerError(f"the query gives a {data['resultType']}, not one number")
    series = data["result"]
    if len(series) > 1:
        raise _NoAnswerError(f"the query gives {len(series)} series, not one: aggregate it")
    if not series:
        return None, math.nan
    at, text = series[0]["value"]
    return float(text), float(at)
