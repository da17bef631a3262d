"""Binary tensors: what goes in comes out, and what is cut short is refused."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb  # type: ignore[import-untyped]

from serving.ranker.kserve_tensors import json_of_message, with_binary, write_answer
from serving.ranker.refusal import RequestError
from serving.ranker.settings import Limits

NUMBERS = {"INT32": "<i4", "INT64": "<i8", "FP32": "<f4", "FP64": "<f8", "UINT8": "<u1", "BOOL": "?"}


def raw_texts(texts: list[str]) -> bytes:
    return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)


def tensor(datatype: str, size: int, raw: bytes) -> dict[str, Any]:
    return {"name": "x", "datatype": datatype, "shape": [size], "parameters": {"binary_data_size": len(raw)}}


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=20))
def test_texts_come_back_from_their_bytes(texts: list[str]) -> None:
    raw = raw_texts(texts)
    filled = with_binary({"inputs": [tensor("BYTES", len(texts), raw)]}, raw)
    assert filled["inputs"][0]["data"] == texts  # type: ignore[index]


@given(st.sampled_from(sorted(NUMBERS)), st.lists(st.integers(0, 1), max_size=10))
def test_numbers_come_back_from_their_bytes(datatype: str, values: list[int]) -> None:
    raw = np.array(values, NUMBERS[datatype]).tobytes()
    filled = with_binary({"inputs": [tensor(datatype, len(values), raw)]}, raw)
    assert filled["inputs"][0]["data"] == values  # type: ignore[index]


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=5), st.data())
def test_texts_that_are_cut_short_are_refused(texts: list[str], data: st.DataObject) -> None:
    raw = raw_texts(texts)
    ends = {0, *np.cumsum([4 + len(text.encode()) for text in texts]).tolist()}
    cut = data.draw(st.integers(0, len(raw) - 1).filter(lambda place: place not in ends))
    with pytest.raises(RequestError, match="end within a value"):
        with_binary({"inputs": [tensor("BYTES", len(texts), raw[:cut])]}, raw[:cut])


@pytest.mark.parametrize("size", [-1, 5, True, 2.0, "4", None])
def test_a_size_that_the_bytes_do_not_have_is_refused(size: object) -> None:
    entry = {"name": "x", "datatype": "UINT8", "shape": [4], "parameters": {"binary_data_size": size}}
    with pytest.raises(RequestError):
        with_binary({"inputs": [entry]}, b"abcd")


def test_bytes_of_no_input_are_refused() -> None:
    with pytest.raises(RequestError, match="belong to no input"):
        with_binary({"inputs": []}, b"abcd")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_what_is_no_call_is_left_for_the_mapping_to_refuse(value: object) -> None:
    assert with_binary(value, b"") == value


def test_contents_and_raw_contents_of_a_message_say_the_same() -> None:
    typed = pb.ModelInferRequest(id="r")
    entry = typed.inputs.add(name="items", datatype="BYTES", shape=[2])
    entry.contents.bytes_contents.extend([b"a", b"b"])
    raw = pb.ModelInferRequest(id="r", raw_input_contents=[raw_texts(["a", "b"])])
    raw.inputs.add(name="items", datatype="BYTES", shape=[2])
    assert json_of_message(typed) == json_of_message(raw)


def test_a_message_with_too_few_raw_contents_or_both_kinds_is_refused() -> None:
    message = pb.ModelInferRequest(raw_input_contents=[b""])
    message.inputs.add(name="a", datatype="BYTES", shape=[0])
    message.inputs.add(name="b", datatype="BYTES", shape=[0])
    with pytest.raises(RequestError, match="one for each input"):
        json_of_message(message)
    both = pb.ModelInferRequest(raw_input_contents=[b""])
    both.inputs.add(name="a", datatype="INT32", shape=[1]).contents.int_contents.append(1)
    with pytest.raises(RequestError, match="both"):
        json_of_message(both)


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "", "bytes"])
def test_contents_of_a_datatype_without_a_field_are_refused(datatype: str) -> None:
    message = pb.ModelInferRequest()
    message.inputs.add(name="a", datatype=datatype, shape=[1])
    with pytest.raises(RequestError, match="cannot come"):
        json_of_message(message)


@pytest.mark.parametrize(("datatype", "raw"), [("BYTES", bytes(4 * 6)), ("UINT8", bytes(6)), ("FP64", bytes(8 * 6))])
def test_more_raw_values_than_a_request_may_rank_are_refused_before_they_are_read(datatype: str, raw: bytes) -> None:
    limits = Limits(candidates=5, context_values=2)
    message = pb.ModelInferRequest(raw_input_contents=[raw])
    message.inputs.add(name="items", datatype=datatype, shape=[6])
    with pytest.raises(RequestError, match="more than 5 values"):
        with_binary({"inputs": [tensor(datatype, 6, raw)]}, raw, limits)
    with pytest.raises(RequestError, match="more than 5 values"):
        json_of_message(message, limits)


def test_an_answer_may_be_half_text_and_half_bytes() -> None:
    score = {"name": "score", "datatype": "FP32", "shape": [2], "data": np.array([1, 2], np.float32)}
    order = {"name": "order", "datatype": "INT32", "shape": [2], "data": np.array([1, 0], np.int32)}
    content, length = write_answer({"outputs": [score, order]}, frozenset({"order"}))
    assert length is not None
    assert content[length:] == struct.pack("<ii", 1, 0)
    assert b'"data":[1.0,2.0]' in content[:length]
    assert write_answer({"outputs": [order]}, frozenset())[1] is None
