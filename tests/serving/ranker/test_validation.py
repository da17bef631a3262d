"""Any JSON value is a request or a sentence with a 4xx."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.schema import Feature
from serving.ranker.refusal import RequestError
from serving.ranker.request import RankRequest
from serving.ranker.settings import Limits
from serving.ranker.validation import parse_json, parse_request

LIMITS = Limits(candidates=5, id_length=8, body_bytes=500, context_values=3, context_length=10)
TASKS = ("click", "buy")
FEATURES = (
    Feature(name="hour", of="context", kind="sparse", column="hour"),
    Feature(name="depth", of="context", kind="dense", column="depth"),
    Feature(name="tags", of="context", kind="multi", column="tags"),
)
GOOD = {"user": "u", "items": ["a", "b"]}

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.integers(10**17, 10**400)
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


def near_requests() -> st.SearchStrategy[dict[str, object]]:
    """Objects with the right names and values that are mostly wrong."""
    names = st.sampled_from(["hour", "depth", "tags", "colour"])
    tasks = st.sampled_from(["click", "buy", "like"])
    return st.fixed_dictionaries(
        {
            "user": st.text(min_size=1, max_size=9) | anything,
            "items": st.lists(st.text(min_size=1, max_size=9) | st.integers(), max_size=7) | anything,
        },
        optional={
            "context": st.dictionaries(names, anything, max_size=3) | anything,
            "time": scalars,
            "utility": st.dictionaries(tasks, scalars, max_size=3) | anything,
            "request_id": anything,
            "other": anything,
        },
    )


def parsed(value: object) -> RankRequest:
    return parse_request(value, LIMITS, TASKS, FEATURES)


def refused(call: Callable[[], object]) -> RequestError | None:
    """The refusal; None where the value is taken. Any other error is a failure of the test."""
    try:
        call()
    except RequestError as error:
        return error
    return None


@given(value=anything | near_requests())
def test_any_json_value_is_a_request_or_a_sentence_with_a_4xx(value: object) -> None:
    error = refused(lambda: parsed(value))
    if error is not None:
        assert 400 <= error.status < 500
        assert 0 < len(str(error)) < 400
        assert "\n" not in str(error)
        assert error.reason
        return
    request = parsed(value)
    assert 1 <= len(request.items) <= LIMITS.candidates
    for text in (request.user, *request.items):
        assert 0 < len(text) <= max(LIMITS.id_length, 19)
        text.encode()
    json.dumps(dict(request.context), allow_nan=False)
    assert request.utility is None or set(request.utility) <= set(TASKS)


@given(body=st.binary(max_size=600) | anything.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_json_or_a_sentence_with_a_4xx(body: bytes) -> None:
    error = refused(lambda: json.dumps(parse_json(body, LIMITS), allow_nan=False))
    if len(body) > LIMITS.body_bytes:
        assert error is not None
        assert error.status == 413
    elif error is not None:
        assert error.status == 400
        assert "\n" not in str(error)


def test_a_whole_request_is_taken_as_it_is() -> None:
    request = parsed(
        {
            "user": 42,
            "items": ["a", 7],
            "context": {"hour": "3", "depth": 1.5, "tags": ["x", 2, None]},
            "time": 1.5,
            "utility": {"buy": 2},
            "request_id": "r",
        }
    )
    assert request == RankRequest(
        "42", ("a", "7"), {"hour": "3", "depth": 1.5, "tags": ["x", 2]}, 1.5, {"buy": 2.0}, "r"
    )


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"items": []}, 400, "items is empty"),
        ({"items": "ab"}, 400, "items must be a list"),
        ({"items": ["a"] * 6}, 413, "6 candidates; 5 are the most"),
        ({"items": ["a", None]}, 400, "an item must be a text, not null"),
        ({"items": ["a", ""]}, 400, "an item is empty"),
        ({"items": ["a", True]}, 400, "an item must be a text, not true"),
        ({"items": ["a", 1.5]}, 400, "an item must be a text, not 1.5"),
        ({"items": ["123456789"]}, 400, "9 characters; 8 are the most"),
        ({"user": ""}, 400, "user is empty"),
        ({"user": "\ud800"}, 400, "no valid Unicode"),
        ({"user": 10**18}, 400, "more than 18 digits"),
        ({"user": ["u"]}, 400, "user must be a text, not a list"),
        ({"time": float("nan")}, 400, "time is nan"),
        ({"time": -1}, 400, "unix seconds from 0 on"),
        ({"time": 1e30}, 400, "unix seconds from 0 on"),
        ({"time": "now"}, 400, "time must be a number"),
        ({"utility": {"like": 1}}, 422, "'like', which is no task; tasks are: click, buy"),
        ({"utility": {"click": float("inf")}}, 400, "utility of click is inf"),
        ({"utility": {"click": 1e300}}, 422, "utility of click is beyond"),
        ({"utility": {"click": 0}}, 422, "orders nothing"),
        ({"utility": {}}, 422, "orders nothing"),
        ({"utility": {"click": "1"}}, 400, "utility of click must be a number"),
        ({"context": {"colour": 1}}, 422, "'colour', which is no feature of this model; features are: hour, depth"),
        ({"context": {"depth": "deep"}}, 400, "context feature depth must be a number"),
        ({"context": {"depth": float("nan")}}, 400, "context feature depth is nan"),
        ({"context": {"hour": {}}}, 400, "context feature hour must be a text or a number, not an object"),
        ({"context": {"tags": [1, 2, 3, 4]}}, 400, "4 values; 3 are the most"),
        ({"context": {"tags": [[1]]}}, 400, "a value of context feature tags"),
        ({"context": {"hour": "x" * 11}}, 400, "11 characters; 10 are the most"),
        ({"context": [1]}, 400, "context must be a JSON object, not a list"),
        ({"item": 1}, 400, "the field 'item'; fields are: user, items"),
        ({"request_id": 1.5}, 400, "request_id must be a text"),
    ],
)
def test_every_rule_has_its_sentence(change: dict[str, object], status: int, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        parsed(GOOD | change)
    assert words in str(caught.value)
    assert caught.value.status == status


@pytest.mark.parametrize("missing", ["user", "items"])
def test_a_missing_field_is_named(missing: str) -> None:
    with pytest.raises(RequestError, match=missing):
        parsed({name: value for name, value in GOOD.items() if name != missing})


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "no JSON"),
        (b"\xff", 400, "no JSON"),
        (b'{"time": NaN}', 400, "NaN is no JSON number"),
        (b"[" * 499, 400, "nested|no JSON"),
        (b" " * 501, 413, "501 bytes; 500 are the most"),
        (b"1" * 499, 200, ""),
    ],
)
def test_a_body_that_is_no_json_is_refused(body: bytes, status: int, words: str) -> None:
    if status == 200:
        assert parse_json(body, LIMITS) == int(body)
        return
    with pytest.raises(RequestError, match=words) as caught:
        parse_json(body, LIMITS)
    assert caught.value.status == status


def test_a_body_nested_thousands_deep_is_refused() -> None:
    with pytest.raises(RequestError, match="nested"):
        parse_json(b"[" * 200_000 + b"]" * 200_000, Limits())
