"""Visits as requests that a ranker takes, and answers that order."""

from __future__ import annotations

import json

import numpy as np
import orjson
import pytest

from model.data.schema import Feature
from serving.ranker.open_inference import v1_requests, v2_request
from serving.ranker.settings import Limits
from serving.ranker.validation import parse_request
from serving.traffic.ranking_call import AnswerError, Protocol, RankingCall
from serving.traffic.visits import Visit

FEATURES = (
    Feature(name="tab", of="context", kind="sparse", column="tab"),
    Feature(name="age", of="context", kind="dense", column="age"),
    Feature(name="tags", of="context", kind="multi", column="tags"),
)
VISIT = Visit(
    3, "ü-7", ("3", "11", "x"), np.zeros((3, 1)), {"tab": "home", "age": 2.5, "tags": ["a", "b"]}, 1_650_000_000
)


def call(protocol: Protocol) -> RankingCall:
    return RankingCall(protocol, "mgoe", frozenset({"tags"}))


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_the_rankers_own_parser_reads_back_the_visit(protocol: Protocol) -> None:
    body = orjson.loads(call(protocol).body(VISIT, "r-1"))
    value = v1_requests(body)[0] if protocol == "v1" else v2_request(body, FEATURES)
    request = parse_request(value, Limits(), ("click",), FEATURES)
    assert (request.user, request.items, request.time) == (VISIT.unit, VISIT.items, VISIT.time)
    assert (dict(request.context), request.request_id) == (VISIT.context, "r-1")


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_an_order_is_read_from_the_answer(protocol: Protocol) -> None:
    outputs = [{"name": "score", "data": [1.0]}, {"name": "order", "data": [2, 0, 1]}]
    document = {"predictions": [{"order": [2, 0, 1]}]} if protocol == "v1" else {"outputs": outputs}
    assert call(protocol).order(json.dumps(document).encode(), 3).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"outputs": []}',
        b'{"outputs": 3}',
        b'{"outputs": [{"name": "order"}]}',
        b'{"outputs": [{"name": "order", "data": [0, 1]}]}',
        b'{"outputs": [{"name": "order", "data": [0, 1, 1]}]}',
        b'{"outputs": [{"name": "order", "data": [0, 1, 2.0]}]}',
        b'{"outputs": [{"name": "order", "data": [false, true, 2]}]}',
        b'{"outputs": [{"name": "order", "data": "012"}]}',
        b'{"outputs": [{"name": "order", "data": [0, 1, 99999999999999999999]}]}',
    ],
)
def test_an_answer_that_does_not_order_the_candidates_is_malformed(body: bytes) -> None:
    with pytest.raises(AnswerError):
        call("v2").order(body, 3)
