"""From untrusted JSON to a RankRequest, or a RequestError that says what is wrong. All runtimes use it."""

from __future__ import annotations

from collections.abc import Sequence

from model.data.schema import Feature
from serving.ranker.request import RankRequest
from serving.ranker.settings import Limits


def parse_json(body: bytes, limits: Limits) -> object:
    """The JSON value in `body`. Raises RequestError: 413 beyond the cap, 400 where it is no JSON (NaN included)."""
    raise NotImplementedError


def parse_request(
    value: object, limits: Limits, tasks: Sequence[str], context_features: Sequence[Feature]
) -> RankRequest:
    """The request in `value` ({"user", "items", "context"?, "time"?, "utility"?, "request_id"?}).

    Raises RequestError (status 4xx, one sentence) on anything else.
    """
    raise NotImplementedError
