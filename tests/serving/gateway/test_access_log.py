"""Lines of the access log become records, and anything else is told apart."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.access_log import FORMAT, ExposureRecord, LogLineError, parse

LINE: dict[str, Any] = {
    "time": "1795347717.980281",
    "experiment": "exp-1",
    "phase": 3,
    "candidate_weight": 2500,
    "kind": "rank",
    "rule": "split",
    "arm": "candidate",
    "unit": "用户-17",
    "shadow": None,
    "request_id": "r-1",
    "digest": "d1",
    "digest_trailer": None,
    "exposure_id": "e-1",
    "exposure_id_trailer": None,
    "status": 200,
    "grpc_status": None,
    "flags": "-",
    "details": "via_upstream",
    "method": "POST",
    "path": "/v2/models/mgoe/infer",
    "protocol": "HTTP/1.1",
    "upstream": "127.0.0.1:9001",
    "attempts": 1,
    "upstream_us": 549,
    "duration_us": 9277,
}


def record(**changes: Any) -> ExposureRecord:
    [found] = parse(json.dumps(LINE | changes))
    return found


def test_the_sample_has_the_fields_of_the_format() -> None:
    assert LINE.keys() == FORMAT.keys()


def test_a_line_becomes_a_record() -> None:
    assert record() == ExposureRecord(
        experiment="exp-1",
        phase=3,
        propensity=0.25,
        arm="candidate",
        unit="用户-17",
        digest="d1",
        exposure_id="e-1",
        request_id="r-1",
        time=1795347717.980281,
        forced=False,
        shadow=False,
        status=200,
        grpc_status=None,
        upstream_ms=0.549,
        duration_ms=9.277,
        flags="",
    )


def test_grpc_brings_its_ids_as_trailers() -> None:
    found = record(grpc_status=0, digest=None, exposure_id=None, digest_trailer="d2", exposure_id_trailer="e-2")
    assert (found.digest, found.exposure_id, found.excluded) == ("d2", "e-2", None)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, None),
        ({"rule": "forced"}, "forced"),
        ({"rule": "no_unit", "unit": None}, "no_unit"),
        ({"shadow": "1"}, "shadow"),
        ({"status": 503}, "failed"),
        ({"status": 0}, "failed"),
        ({"grpc_status": 14}, "failed"),
        ({"flags": "UPE"}, "failed"),
        ({"exposure_id": None}, "unnamed"),
        ({"digest": None}, "unnamed"),
        ({"digest": "d1,d2"}, "unnamed"),
    ],
)
def test_what_is_no_evidence_says_why(changes: dict[str, Any], word: str | None) -> None:
    assert record(**changes).excluded == word


def test_each_answer_of_a_line_is_a_record() -> None:
    assert [found.exposure_id for found in parse(json.dumps(LINE | {"exposure_id": "a,b"}))] == ["a", "b"]


@pytest.mark.parametrize("kind", ["info", "refused", None])
def test_what_is_no_ranking_has_no_records(kind: str | None) -> None:
    assert parse(json.dumps(LINE | {"kind": kind, "arm": None, "phase": None})) == ()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff",
        b"{",
        b"[]",
        b"null",
        json.dumps(LINE)[:-10],
        json.dumps(LINE | {"arm": "third"}),
        json.dumps(LINE | {"arm": []}),
        json.dumps(LINE | {"phase": None}),
        json.dumps(LINE | {"phase": "3"}),
        json.dumps(LINE | {"phase": True}),
        json.dumps(LINE | {"candidate_weight": 10_001}),
        json.dumps(LINE | {"experiment": None}),
        json.dumps(LINE | {"time": "NaN"}),
        json.dumps(LINE | {"time": None}),
        json.dumps(LINE | {"unit": 7}),
        json.dumps({name: value for name, value in LINE.items() if name != "rule"}),
        '{"kind": "rank", "phase": ' + "9" * 5000 + "}",
        "[" * 100_000,
    ],
)
def test_a_line_that_the_gateway_did_not_write_is_told_apart(line: str | bytes) -> None:
    with pytest.raises(LogLineError):
        parse(line)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2),
)


@given(st.dictionaries(st.sampled_from(sorted(FORMAT)), json_values))
def test_no_line_breaks_the_parser(changes: dict[str, Any]) -> None:
    try:
        parse(json.dumps(LINE | changes))
    except LogLineError as error:
        assert "\n" not in str(error)  # noqa: PT017  # any line may be refused, and any refusal is one line
