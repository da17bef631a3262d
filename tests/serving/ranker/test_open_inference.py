"""The mapping between the servers' protocols and the ranker's request and answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.schema import Feature
from serving.ranker import open_inference
from serving.ranker.refusal import RequestError
from serving.ranker.request import RankAnswer
from serving.ranker.settings import Limits

FEATURES = (
    Feature(name="tab", of="context", kind="sparse", column="tab"),
    Feature(name="seen", of="context", kind="multi", column="seen"),
    Feature(name="battery", of="context", kind="dense", column="battery"),
    Feature(name="hour", of="context", kind="sparse", derive="hour_of_day"),
)
ANSWER = RankAnswer(
    digest="d" * 64,
    tasks=("click", "like"),
    probabilities=np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], np.float32),
    score=np.array([0.3, 0.7, 1.1], np.float32),
    order=np.array([2, 1, 0], np.int32),
    exposure_id="0b8f",
    arm="candidate",
)


def tensor(name: str, data: list[Any], datatype: str = "BYTES", shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(data)] if shape is None else shape, "data": data}


def call(*tensors: object, **rest: object) -> dict[str, Any]:
    return {"inputs": [tensor("user", ["u"]), tensor("items", ["a", "b"]), *tensors], **rest}


def test_a_v2_call_becomes_the_request_that_validation_reads() -> None:
    body = call(
        tensor("time", [1.5], "FP64"),
        tensor("context.tab", ["home"]),
        tensor("context.seen", ["x"]),
        tensor("context.battery", [0.5], "FP32"),
        tensor("utility.click", [2], "INT32"),
        id="mine",
    )
    assert open_inference.v2_request(body, FEATURES) == {
        "user": "u",
        "items": ["a", "b"],
        "time": 1.5,
        "context": {"tab": "home", "seen": ["x"], "battery": 0.5},
        "utility": {"click": 2},
        "request_id": "mine",
    }


def test_integer_ids_are_written_out_and_nested_data_is_read_row_by_row() -> None:
    body = {"inputs": [tensor("user", [7], "INT64"), tensor("items", [[1, 2], [3, 4]], "INT64", shape=[2, 2])]}
    assert open_inference.v2_request(body, FEATURES) == {"user": "7", "items": ["1", "2", "3", "4"]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (None, '"inputs"'),
        ({"inputs": {}}, '"inputs"'),
        (call(3), "every input must be an object"),
        (call({"name": "time"}), '"datatype"'),
        (call(tensor("time", ["now"])), "takes a number"),
        (call(tensor("time", [1, 2], "INT64")), "takes one"),
        (call(tensor("context.tab", ["a", "b"])), "takes one"),
        (call(tensor("items", ["c"])), "twice"),
        (call(tensor("canddates", ["c"])), "unknown"),
        (call(tensor("context", ["c"])), "unknown"),
        ({"inputs": [tensor("user", [1.5], "FP32")]}, "BYTES or an integer"),
        ({"inputs": [tensor("user", ["u"], shape=[2])]}, "shape"),
        ({"inputs": [tensor("user", ["u"], shape=[-1])]}, "has a shape with -1; a size is a whole number"),
        ({"inputs": [tensor("user", ["u"], shape=[10**18])]}, "has a shape with a very large number; a size is"),
        ({"inputs": [{**tensor("user", ["u"]), "shape": [True]}]}, "shape"),
        ({"inputs": [{**tensor("user", ["u"]), "data": "u"}]}, '"data"'),
        (call(parameters=[]), '"parameters" of the call must be an object, not a list'),
        ({"inputs": [{**tensor("user", ["u"]), "parameters": 7}]}, "\"parameters\" of input 'user' must be an object"),
        ({"inputs": [tensor("items", [["a"], "b"], shape=[2])]}, "nested unevenly"),
        ({"inputs": [tensor("items", ["a", ["b"]], shape=[2])]}, "nested unevenly"),
        ({"inputs": [tensor("items", [["a", "b"], ["c"]], shape=[3])]}, "nested unevenly"),
        ({"inputs": [tensor("items", [["a"], ["b"]], shape=[2])]}, r"shape \[2\], but its data is nested as \[2, 1\]"),
        ({"inputs": [tensor("items", [["a", "b"]], shape=[2, 1])]}, r"nested as \[1, 2\]"),
        ({"inputs": [tensor("items", [[[[["a"]]]]], shape=[1])]}, r"nested as \[1, 1, 1, 1\]"),
    ],
)
def test_what_is_no_call_of_a_ranker_is_refused_with_a_sentence(body: object, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        open_inference.v2_request(body, FEATURES)
    assert 400 <= caught.value.status < 500


@pytest.mark.parametrize(
    "broken",
    [
        {"shape": [9] * 400_000},
        {"shape": [10**4000] * 4},
        {"shape": ["x" * 10**6]},
        {"name": "n" * 10**6},
        {"datatype": "\u2603" * 10**6},
        {"name": "time", "datatype": "\ud800" * 10**6},
        {"name": "context." + "c" * 10**6, "data": ["a", "b"], "shape": [2]},
    ],
    ids=range(7),
)
def test_a_large_part_of_a_call_makes_no_large_product_and_no_large_sentence(broken: dict[str, Any]) -> None:
    body = {"inputs": [tensor("user", ["u"]) | broken]}
    with pytest.raises(RequestError) as caught:
        open_inference.v2_request(body, FEATURES)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isascii()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (tensor("user", ["abc"], "INT64"), "no INT64"),
        (tensor("user", [True], "INT64"), "no INT64"),
        (tensor("user", [7]), "no BYTES"),
        (tensor("user", [300], "UINT8"), "no UINT8"),
        (tensor("time", [1_500_000_000], "INT8"), "no INT8"),
        (tensor("time", [1.5], "INT64"), "no INT64"),
        (tensor("time", ["1"], "FP64"), "no FP64"),
        (tensor("context.tab", ["home"], "BANANA"), "datatype 'BANANA'; known are BYTES"),
        (tensor("context.tab", [1], "BOOL"), "no BOOL"),
    ],
)
def test_values_are_held_to_their_datatype(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        open_inference.v2_request({"inputs": [wrong]}, FEATURES)


@pytest.mark.parametrize("data", [["a"] * 6, [["a"] * 3] * 2, [[]] * 6, [[["a"] * 2] * 3]])
def test_more_values_than_a_request_may_rank_are_refused_before_they_are_read(data: list[Any]) -> None:
    limits = Limits(candidates=5, context_values=2)
    with pytest.raises(RequestError, match="more than 5 values") as refused:
        open_inference.v2_request({"inputs": [tensor("items", data, shape=[6])]}, FEATURES, limits)
    assert refused.value.status == 413


def test_more_inputs_than_any_call_has_are_refused() -> None:
    with pytest.raises(RequestError, match="2000 inputs"):
        open_inference.v2_request({"inputs": [1] * 2000}, FEATURES)


def test_a_v2_answer_names_model_version_id_and_outputs() -> None:
    body = json.loads(open_inference.encode(open_inference.v2_answer(ANSWER, "ranker", "mine")))
    assert (body["model_name"], body["model_version"], body["id"]) == ("ranker", "d" * 12, "mine")
    assert body["parameters"] == {
        "digest": "d" * 64,
        "tasks": "click,like",
        "exposure_id": "0b8f",
        "arm": "candidate",
    }
    assert [(each["name"], each["datatype"], each["shape"]) for each in body["outputs"]] == [
        ("probabilities", "FP32", [3, 2]),
        ("score", "FP32", [3]),
        ("order", "INT32", [3]),
    ]
    assert body["outputs"][0]["data"] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert body["outputs"][2]["data"] == [2, 1, 0]


def test_a_v2_call_gets_the_outputs_it_asks_for_in_its_order() -> None:
    wanted = open_inference.v2_wanted(call(outputs=[{"name": "order"}, {"name": "score"}]))
    body = open_inference.v2_answer(ANSWER, "ranker", "1", wanted)
    assert [each["name"] for each in body["outputs"]] == ["order", "score"]
    assert open_inference.v2_wanted(call()) == open_inference.OUTPUTS


@pytest.mark.parametrize("outputs", [["order"], "order", [{"name": "rank"}], [{}], [{"name": []}]])
def test_an_output_that_does_not_exist_is_refused(outputs: object) -> None:
    with pytest.raises(RequestError, match="output"):
        open_inference.v2_wanted(call(outputs=outputs))


def test_parameters_of_an_output_that_are_no_object_are_refused() -> None:
    with pytest.raises(RequestError, match="\"parameters\" of output 'order' must be an object"):
        open_inference.v2_wanted(call(outputs=[{"name": "order", "parameters": "binary_data"}]))


def test_v1_answers_every_instance_as_one_object() -> None:
    assert open_inference.v1_requests({"instances": [{"user": "u"}, 1]}) == [{"user": "u"}, 1]
    (prediction,) = json.loads(open_inference.encode(open_inference.v1_answer([ANSWER])))["predictions"]
    assert prediction["order"] == [2, 1, 0]
    assert prediction["probabilities"] == [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]
    assert prediction["arm"] == "candidate"
    assert "request_id" not in prediction


def test_answers_that_are_views_of_a_batch_are_written_as_well() -> None:
    turned = np.ascontiguousarray(ANSWER.probabilities.T).T
    view = replace(ANSWER, probabilities=turned, score=np.repeat(ANSWER.score, 2)[::2], order=ANSWER.order[::-1])
    for document in (open_inference.v1_answer([view]), open_inference.v2_answer(view, "ranker", "1")):
        assert b"[2,1,0]" not in open_inference.encode(document)
        assert b"[0,1,2]" in open_inference.encode(document)
    (prediction,) = json.loads(open_inference.encode(open_inference.v1_answer([view])))["predictions"]
    assert prediction["probabilities"] == [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]


@pytest.mark.parametrize("body", [None, [], {}, {"instances": {}}, {"instances": []}, {"instances": [{}] * 65}])
def test_a_v1_call_without_instances_or_with_too_many_is_refused(body: object) -> None:
    with pytest.raises(RequestError, match="instances"):
        open_inference.v1_requests(body)


def test_candidates_of_a_v1_call_are_counted_together_before_any_request_is_parsed() -> None:
    wrong_as_well: list[object] = [{"items": ["1"] * 60}, 7, {"items": {}}, {"items": ["2"] * 41}]
    with pytest.raises(RequestError, match="hold 101 candidates together; one call takes up to 100") as refused:
        open_inference.v1_requests({"instances": wrong_as_well}, candidates=100)
    assert refused.value.status == 413


def test_metadata_names_every_input_a_caller_may_send() -> None:
    told = open_inference.v2_metadata("ranker", "d" * 64, ("click",), FEATURES)
    shapes = {each["name"]: each["shape"] for each in told["inputs"]}
    assert shapes == {
        "user": [1],
        "items": [-1],
        "time": [1],
        "context.tab": [1],
        "context.seen": [-1],
        "context.battery": [1],
        "utility.click": [1],
    }


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
names = st.sampled_from(["user", "items", "time", "context.tab", "context.seen", "utility.click", "context.", "x"])
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": names | values,
        "datatype": st.sampled_from(["BYTES", "INT64", "FP32", "BOOL"]) | values,
        "shape": st.lists(st.integers(-1, 3), max_size=2) | values,
        "data": st.lists(scalars, max_size=3) | values,
    },
)
calls = st.fixed_dictionaries(
    {}, optional={"inputs": st.lists(tensors | values, max_size=3) | values, "id": values, "outputs": values}
)


def refusal_of(read: Callable[[], object]) -> RequestError | None:
    try:
        read()
    except RequestError as refusal:
        return refusal
    return None


@given(calls | values)
def test_any_json_is_either_read_or_refused(body: object) -> None:
    for read in (lambda: open_inference.v2_request(body, FEATURES), lambda: open_inference.v2_wanted(body)):
        refusal = refusal_of(read)
        assert refusal is None or (400 <= refusal.status < 500 and "\n" not in str(refusal))
