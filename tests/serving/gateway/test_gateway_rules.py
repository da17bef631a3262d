"""Which arm a request gets, what the log says of it, and what is refused: with a real Envoy."""

from __future__ import annotations

import grpc  # type: ignore[import-untyped]
import pytest

from serving.gateway import assignment, vectors
from tests.serving.gateway.client import Client
from tests.serving.gateway.conftest import Pair
from tests.serving.gateway.gateways import SALT
from tests.serving.gateway.upstream import INFER


@pytest.fixture
def client(pair: Pair) -> Client:
    return pair.gateway.client()


def test_a_unit_gets_the_arm_of_its_bucket_and_the_answer_says_so(pair: Pair, client: Client) -> None:
    pair.gateway.set(50)
    for unit in ("u1", "u2", "u3", "müller", "用户-17"):
        answer = client.rank(unit)
        expected = assignment.arm(assignment.bucket(SALT, unit), 5000)
        assert (answer.status, answer.arm, answer.json["arm"]) == (200, expected, expected)
        assert answer.headers["x-mgoe-digest"] == f"digest-of-{expected}"
        assert answer.headers["x-mgoe-exposure-id"]


def test_without_a_unit_the_baseline_answers_and_it_is_no_evidence(pair: Pair, client: Client) -> None:
    pair.gateway.set(100)
    seen = len(pair.gateway.lines(0))
    assert client.rank().arm == "baseline"
    record = pair.gateway.records(seen + 1)[-1]
    assert (record.unit, record.arm, record.excluded) == (None, "baseline", "no_unit")


@pytest.mark.parametrize("arm", ["baseline", "candidate"])
@pytest.mark.parametrize("unit", [None, "u1"])
def test_a_forced_arm_is_given_at_any_weight_and_is_no_evidence(
    pair: Pair, client: Client, arm: str, unit: str | None
) -> None:
    pair.gateway.set(0 if arm == "candidate" else 100)
    seen = len(pair.gateway.lines(0))
    assert client.rank(unit, {"x-mgoe-variant": arm}).arm == arm
    record = pair.gateway.records(seen + 1)[-1]
    assert (record.arm, record.forced, record.excluded) == (arm, True, "forced")


@pytest.mark.parametrize(
    "headers",
    [
        [("x-mgoe-variant", "control")],
        [("x-mgoe-variant", "")],
        [("x-mgoe-variant", "Candidate")],
        [("x-mgoe-variant", "candidate"), ("x-mgoe-variant", "baseline")],
        [("x-mgoe-variant", "candidate"), ("x-mgoe-variant", "candidate")],
    ],
)
def test_an_unknown_variant_is_refused_with_400(pair: Pair, client: Client, headers: list[tuple[str, str]]) -> None:
    seen = len(pair.baseline.seen) + len(pair.candidate.seen)
    answer = client.ask("POST", "/v2/models/mgoe/infer", [("x-mgoe-unit", "u1"), *headers], b"{}")
    assert answer.status == 400
    assert "x-mgoe-variant must be baseline or candidate" in answer.json["error"]
    assert len(pair.baseline.seen) + len(pair.candidate.seen) == seen


@pytest.mark.parametrize(
    "values",
    [
        [""],
        ["a b"],
        ["a\tb"],
        ["a,b"],
        ["a" * 257],
        ["ü" * 257],
        ["a\udcff"],  # the byte ff: no UTF-8
        ["\udced\udca0\udc80"],  # a surrogate, encoded
        ["\udcc0\udcaf"],  # an overlong slash
        ["u1", "u2"],
        ["u1", "u1"],
        ["u1", ""],
    ],
)
def test_a_unit_id_that_may_not_mean_what_was_meant_is_refused_with_400(client: Client, values: list[str]) -> None:
    answer = client.ask("POST", "/v2/models/mgoe/infer", [("x-mgoe-unit", value) for value in values], b"{}")
    assert answer.status == 400
    assert "x-mgoe-unit must be 1 to 256 characters" in answer.json["error"]


@pytest.mark.parametrize("odd", ["\u0085", "\u00a0", "\u2028", "\u3000"])
def test_white_space_and_controls_beyond_ascii_are_part_of_a_unit_id(pair: Pair, client: Client, odd: str) -> None:
    pair.gateway.set(50)
    for unit in (f"u{odd}1", f"{odd}u1", f"u1{odd}"):
        answer = client.rank(unit)
        assert (answer.status, answer.arm) == (200, assignment.arm(assignment.bucket(SALT, unit), 5000))


def test_white_space_around_a_unit_id_is_not_part_of_it(pair: Pair, client: Client) -> None:
    pair.gateway.set(50)
    for unit in ("u1", "u2", "u3"):
        assert client.rank(f"  {unit}\t ").arm == assignment.arm(assignment.bucket(SALT, unit), 5000)


def test_a_client_steers_nothing_by_headers_that_are_not_its_own(pair: Pair, client: Client) -> None:
    pair.gateway.set(0)
    hostile = {
        "x-mgoe-arm": "candidate",
        "x-mgoe-digest": "forged",
        "x-mgoe-exposure-id": "forged",
        "x-mgoe-mirror": "candidate",
        "x_mgoe_variant": "candidate",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-expected-rq-timeout-ms": "99999",
        "x-envoy-max-retries": "9",
    }
    seen = len(pair.candidate.seen)
    answer = client.rank("u1", hostile)
    assert (answer.status, answer.arm) == (200, "baseline")
    got = pair.baseline.seen[-1]
    assert got["x-envoy-expected-rq-timeout-ms"] == "1000"
    assert not {"x-mgoe-arm", "x-mgoe-digest", "x-mgoe-exposure-id", "x-mgoe-mirror", "x_mgoe_variant"} & set(got)
    assert len(pair.candidate.seen) == seen


def test_a_request_id_is_kept_or_made_and_told(pair: Pair, client: Client) -> None:
    given = "7f3e9c1a-0b52-4c5e-9b7e-2d1f6a8c4e90"
    seen = len(pair.gateway.lines(0))
    assert client.rank("u1", {"x-request-id": given}).headers["x-request-id"] == given
    assert pair.gateway.records(seen + 1)[-1].request_id == given
    assert len(client.rank("u1").headers["x-request-id"]) == 36


def test_the_log_tells_of_an_exposure_all_that_evidence_needs(pair: Pair, client: Client) -> None:
    split = pair.gateway.set(30)
    seen = len(pair.gateway.lines(0))
    answer = client.rank("用户-17")
    record = pair.gateway.records(seen + 1)[-1]
    assert record.excluded is None
    assert (record.experiment, record.phase, record.propensity) == ("exp-1", split.phase, 0.3)
    assert (record.unit, record.arm) == ("用户-17", answer.arm)
    assert (record.digest, record.exposure_id) == (
        answer.headers["x-mgoe-digest"],
        answer.headers["x-mgoe-exposure-id"],
    )
    assert record.request_id == answer.headers["x-request-id"]
    assert record.upstream_ms is not None
    assert record.duration_ms is not None
    assert 0 < record.upstream_ms <= record.duration_ms


def test_any_unit_id_that_is_taken_comes_back_from_the_log_as_it_was(pair: Pair, client: Client) -> None:
    seen = len(pair.gateway.lines(0))
    for unit in vectors.UNITS:
        assert client.rank(unit).status == 200
    records = pair.gateway.records(seen + len(vectors.UNITS))
    assert [record.unit for record in records[-len(vectors.UNITS) :]] == list(vectors.UNITS)


def test_an_answer_of_several_instances_is_as_many_records(pair: Pair, client: Client) -> None:
    pair.baseline.answers = 3
    seen = len(pair.gateway.records(0))
    lines = len(pair.gateway.lines(0))
    answer = client.rank("u1", {"x-mgoe-variant": "baseline"}, "/v1/models/mgoe:predict")
    pair.baseline.answers = 1
    records = pair.gateway.records(lines + 1)[seen:]
    assert [record.exposure_id for record in records] == answer.headers["x-mgoe-exposure-id"].split(",")
    assert len(records) == 3


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/metrics"),
        ("POST", "/v2/repository/models/mgoe/load"),
        ("POST", "/v2/models/mgoe/versions/abc/infer"),
        ("GET", "/v2/models/mgoe/infer"),
        ("POST", "/v2/models/a/../../repository/models/mgoe/load"),
        ("GET", "/"),
    ],
)
def test_only_ranking_health_and_metadata_pass(client: Client, method: str, path: str) -> None:
    answer = client.ask(method, path, {"x-mgoe-unit": "u1"})
    assert answer.status == 404
    assert "no such path" in answer.json["error"]


def test_an_escaped_slash_is_refused(client: Client) -> None:
    assert client.ask("POST", "/v2/models/a%2f..%2fb/infer", {}).status == 400


def test_metadata_comes_from_the_baseline_or_the_arm_asked_for_and_is_no_exposure(pair: Pair, client: Client) -> None:
    pair.gateway.set(100)
    seen = len(pair.gateway.records(0))
    lines = len(pair.gateway.lines(0))
    assert client.ask("GET", "/v2/models/mgoe", {"x-mgoe-unit": "u1"}).arm == "baseline"
    assert client.ask("GET", "/v2/models/mgoe", {"x-mgoe-variant": "candidate"}).arm == "candidate"
    assert len(pair.gateway.records(lines + 2)) == seen


def call(pair: Pair, metadata: dict[str, str], timeout: float = 5.0) -> tuple[bytes, dict[str, str]]:
    with grpc.insecure_channel(f"127.0.0.1:{pair.gateway.envoy.port}") as channel:
        answer, told = channel.unary_unary(INFER).with_call(b"abc", timeout=timeout, metadata=tuple(metadata.items()))
        return answer, dict(told.initial_metadata()) | {
            f"trailing {name}": value for name, value in told.trailing_metadata()
        }


def test_grpc_is_split_as_http_is_and_logged_with_the_trailers(pair: Pair) -> None:
    pair.gateway.set(50)
    for unit in ("u1", "u2", "u3", "u4"):
        seen = len(pair.gateway.lines(0))
        answer, told = call(pair, {"x-mgoe-unit": unit})
        arm = assignment.arm(assignment.bucket(SALT, unit), 5000)
        assert (answer, told["x-mgoe-arm"]) == (b"abc", arm)
        record = pair.gateway.records(seen + 1)[-1]
        assert (record.arm, record.unit, record.grpc_status, record.excluded) == (arm, unit, 0, None)
        assert (record.digest, record.exposure_id) == (f"digest-of-{arm}", told["trailing x-mgoe-exposure-id"])


def test_a_grpc_call_that_fails_is_no_evidence(pair: Pair) -> None:
    seen = len(pair.gateway.lines(0))
    pair.baseline.status = 503
    with pytest.raises(grpc.RpcError) as refused:
        call(pair, {"x-mgoe-variant": "baseline", "x-mgoe-unit": "u1"})
    pair.baseline.status = 200
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    assert not pair.gateway.records(seen + 1)[-1].succeeded


@pytest.mark.parametrize("metadata", [{"x-mgoe-unit": "a,b"}, {"x-mgoe-variant": "x"}])
def test_grpc_refusals_have_a_status_and_a_sentence(pair: Pair, metadata: dict[str, str]) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        call(pair, metadata)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert next(iter(metadata)) in refused.value.details()


def test_the_ranker_hears_the_grpc_deadline_of_the_client_or_the_gateways(pair: Pair) -> None:
    pair.gateway.set(0)
    call(pair, {}, timeout=0.5)
    call(pair, {}, timeout=50)
    soon, late = pair.baseline_grpc.left[-2:]
    assert soon is not None
    assert late is not None
    assert 0 < soon <= 0.5 < late <= 1.0
