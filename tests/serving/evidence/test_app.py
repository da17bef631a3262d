"""The HTTP face: answers by event, roles, caps; nothing that is sent makes it answer 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2 as httpx
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from serving.evidence.app import make_app
from serving.evidence.limits import Limits
from serving.evidence.service import Service
from serving.evidence.tokens import Tokens
from tests.serving.evidence.conftest import quick_engine
from tests.serving.evidence.evidence_world import FIRST, PHASES, T0

NOW = T0 + 1000.0
LIMITS = Limits(body_bytes=100_000, batch_events=100, unit_events_per_hour=5)
EXPOSURE = {
    "experiment": "ranking",
    "exposure_id": "e1",
    "unit": "u1",
    "arm": "baseline",
    "digest": "b0",
    "phase": 1,
    "time": T0,
}
OUTCOME = {"experiment": "ranking", "event_id": "o1", "metric": "click", "value": 1.5, "time": T0 + 1, "unit": "u1"}


def make_client(engine: Engine, tokens: Tokens | None = None, limits: Limits = LIMITS) -> TestClient:
    service = Service(engine, tokens or Tokens.open(), limits, clock=lambda: NOW)
    return TestClient(make_app(service), raise_server_exceptions=False)


def begin(client: TestClient) -> None:
    bounds = {"buy": {"lowest": -5, "highest": 100}}
    client.post("/v1/experiments", json={"design": FIRST.to_json(), "bounds": bounds}).raise_for_status()
    for phase in (1, 2):
        start = {"phase": phase, "start": PHASES[phase][1], "candidate_weight": PHASES[phase][2]}
        client.post("/v1/experiments/ranking/phases", json=start).raise_for_status()


@pytest.fixture
def client(sqlite_engine: Engine) -> Iterator[TestClient]:
    with make_client(sqlite_engine) as made:
        begin(made)
        yield made


@pytest.fixture
def either(engine: Engine) -> Iterator[TestClient]:
    """On both databases, one after the other."""
    with make_client(engine) as made:
        begin(made)
        yield made


def reasons(answer: httpx.Response) -> list[str | None]:
    assert answer.status_code == 200
    return [each.get("reason") for each in answer.json()["answers"]]


def test_an_exposure_and_its_outcome_are_one_unit_in_the_evidence(either: TestClient) -> None:
    assert either.post("/v1/exposures", json=EXPOSURE).json() == {"event_id": "e1", "status": "accepted"}
    assert either.post("/v1/outcomes", json={"events": [OUTCOME]}).json()["accepted"] == 1
    evidence = either.get("/v1/experiments/ranking/evidence").json()
    ctr = next(each for each in evidence["metrics"] if each["metric"] == "ctr")
    assert ctr["strata"][0]["arms"]["baseline"]["mean"] == [1.5, 1.0, 0.0]
    assert evidence["exposed"][0]["units"] == {"baseline": 1, "candidate": 0}


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("outcomes", {"experiment": "else"}, "experiment 'else': nobody registered it"),
    ("outcomes", {"metric": "clicks"}, "metric 'clicks': experiment 'ranking' counts buy, click"),
    ("outcomes", {"value": -1}, "value -1: 'click' is between 0 and 1e+09"),
    ("outcomes", {"metric": "buy", "value": 101}, "value 101: 'buy' is between -5 and 100"),
    ("outcomes", {"value": "3"}, "value '3': a finite number is expected"),
    ("outcomes", {"value": 1e13}, "value 10000000000000.0: at most 1e+12 in magnitude is kept"),
    ("outcomes", {"time": T0 * 1000}, f"time {T0}000: lies in the future; seconds since 1970 are expected"),
    ("outcomes", {"time": -3}, "time -3: seconds since 1970, above 0, are expected"),
    ("outcomes", {"unit": None}, "unit: missing, and so are exposure_id and request_id"),
    ("outcomes", {"unit": "a\x00b"}, r"unit 'a\x00b': a text of 1 to 256 characters"),
    ("outcomes", {"user": "u"}, "no field 'user'; there are event_id, experiment"),
    ("exposures", {"arm": "control"}, "arm 'control': baseline or candidate is expected"),
    ("exposures", {"phase": -1}, "phase -1: a whole number from 0 on"),
    ("exposures", {"propensity": 1.5}, "propensity 1.5: a probability from 0 to 1 is expected"),
    ("exposures", {"forced": "yes"}, "forced 'yes': true or false is expected"),
    ("exposures", {"experiment": "a/b"}, "experiment 'a/b': 1 to 128 letters"),
]


@pytest.mark.parametrize(("kind", "change", "says"), WRONG)
def test_a_wrong_event_is_refused_in_one_sentence_and_its_neighbours_are_kept(
    client: TestClient, kind: str, change: dict[str, Any], says: str
) -> None:
    good = EXPOSURE if kind == "exposures" else OUTCOME
    key = "exposure_id" if kind == "exposures" else "event_id"
    batch = [good, {**good, key: "bad", **change}, {**good, key: "last"}]
    first, second, third = reasons(client.post(f"/v1/{kind}", json=batch))
    assert (first, third) == (None, None)
    assert second is not None
    assert second.startswith(says)
    alone = client.post(f"/v1/{kind}", json=batch[1])
    assert (alone.status_code, alone.json()["reason"]) == (422, second)


def test_nan_costs_only_the_event_that_has_it(client: TestClient) -> None:
    body = json.dumps([OUTCOME, {**OUTCOME, "event_id": "o2", "value": float("nan")}])
    assert reasons(client.post("/v1/outcomes", content=body)) == [None, "value nan: a finite number is expected"]


def test_a_line_that_is_no_json_costs_only_itself(client: TestClient) -> None:
    body = f"{json.dumps(OUTCOME)}\n{{broken\n\n{json.dumps({**OUTCOME, 'event_id': 'o2'})}\n"
    answer = client.post("/v1/outcomes", content=body, headers={"content-type": "application/x-ndjson"})
    first, second, third = reasons(answer)
    assert (first, third) == (None, None)
    assert str(second).startswith("line: not JSON")


def test_a_replayed_batch_is_answered_as_the_first_time(either: TestClient) -> None:
    batch = [OUTCOME, {**OUTCOME, "value": 2}, {**OUTCOME, "event_id": "o2", "value": -1}]
    batch += [{**OUTCOME, "event_id": f"many{n}"} for n in range(8)]
    first = either.post("/v1/outcomes", json=batch).json()
    assert first["accepted"] == 5
    assert either.post("/v1/outcomes", json=batch).json() == first
    assert either.get("/v1/experiments/ranking/evidence").json()["waiting"] == 5


def test_an_event_id_with_other_content_is_a_conflict(client: TestClient) -> None:
    client.post("/v1/outcomes", json=OUTCOME)
    answer = client.post("/v1/outcomes", json={**OUTCOME, "value": 2})
    assert answer.status_code == 422
    assert answer.json()["kind"] == "conflict"
    assert answer.json()["reason"] == "event_id 'o1': an event of this id and another value is kept already"


def test_events_beyond_the_cap_of_a_unit_and_hour_are_refused_and_the_unit_is_counted(either: TestClient) -> None:
    either.post("/v1/exposures", json=EXPOSURE)
    batch = [{**OUTCOME, "event_id": f"o{n}"} for n in range(7)]
    answers = reasons(either.post("/v1/outcomes", json=batch))
    assert answers[:5] == [None] * 5
    assert str(answers[5]).startswith("unit 'u1': more than 5 outcomes 'click' in the hour of time 17000000")
    evidence = either.get("/v1/experiments/ranking/evidence").json()
    assert evidence["capped"] == 1
    basket = next(each for each in evidence["metrics"] if each["metric"] == "basket")
    assert basket["strata"][0]["arms"]["baseline"]["mean"] == [0.0, 7.5]


def test_bodies_and_batches_have_a_largest_size(client: TestClient) -> None:
    assert client.post("/v1/outcomes", content=b" " * 100_001).json() == {"error": "body: more than 100000 bytes"}
    answer = client.post("/v1/outcomes", json=[0] * 101)
    assert (answer.status_code, answer.json()["error"]) == (413, "101 events in one request: at most 100")
    assert client.post("/v1/outcomes", content=b"", headers={"content-encoding": "gzip"}).status_code == 415


def test_each_role_may_do_its_own_and_nothing_else(sqlite_engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# made today\nwrite w-0123456789abcdef\nread r-0123456789abcdef\nadmin,read a-0123456789abcdef\n")
    calls = {
        "write": ("POST", "/v1/outcomes"),
        "read": ("GET", "/v1/experiments"),
        "admin": ("POST", "/v1/experiments"),
    }
    with make_client(sqlite_engine, Tokens.load(file, {})) as client:
        for token, roles in {"w": {"write"}, "r": {"read"}, "a": {"admin", "read"}}.items():
            headers = {"authorization": f"Bearer {token}-0123456789abcdef"}
            for role, call in calls.items():
                status = client.request(*call, headers=headers).status_code
                assert (status != 403) == (role in roles), (token, call, status)
        for call in calls.values():
            assert client.request(*call).status_code == 401
            assert client.request(*call, headers={b"authorization": "Bearer é".encode()}).status_code == 401
        assert [client.get(path).status_code for path in ("/health/live", "/health/ready", "/metrics")] == [200] * 3


def test_a_design_is_registered_once_and_never_changed(client: TestClient) -> None:
    design = FIRST.to_json()
    bounds = {"buy": {"lowest": -5, "highest": 100}}
    assert client.post("/v1/experiments", json={"design": design, "bounds": bounds}).status_code == 200
    answer = client.post("/v1/experiments", json={"design": {**design, "alpha": 0.1}, "bounds": bounds})
    assert answer.status_code == 409
    assert "registered with another alpha" in answer.json()["error"]
    answer = client.post("/v1/experiments/ranking/phases", json={"phase": 1, "start": T0, "candidate_weight": 0.2})
    assert answer.status_code == 409
    assert "a changed weight is a new phase" in answer.json()["error"]
    answer = client.post("/v1/experiments", json={"design": {**design, "metrics": []}})
    assert (answer.status_code, answer.json()["error"]) == (400, "experiment 'ranking': there is no metric")


def test_unknown_experiments_and_candidates_are_named(client: TestClient) -> None:
    answer = client.get("/v1/experiments/else/evidence")
    assert (answer.status_code, answer.json()["error"]) == (404, "experiment 'else': nobody registered it")
    answer = client.get("/v1/experiments/ranking/evidence?candidate=c9")
    assert answer.json()["error"] == "experiment 'ranking': no run of candidate 'c9'; there are c1"


def test_a_full_queue_tells_the_sender_to_come_again(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from serving.evidence import writer

    def refuse(*_: object) -> None:
        raise writer.QueueFullError("9 events wait already, at most 5 may")

    with make_client(sqlite_engine) as client:
        begin(client)
        monkeypatch.setattr(writer.Writer, "take", refuse)
        answer = client.post("/v1/outcomes", json=OUTCOME)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


def test_a_units_data_is_deleted_over_http(either: TestClient) -> None:
    either.post("/v1/exposures", json=EXPOSURE)
    either.post("/v1/outcomes", json=OUTCOME)
    assert either.delete("/v1/units", params={"unit": "u1"}).json() == {"deleted": 2}
    evidence = either.get("/v1/experiments/ranking/evidence").json()
    assert evidence["exposed"] == []
    assert all(each["strata"] == [] for each in evidence["metrics"])


def test_a_covariate_is_set_once(either: TestClient) -> None:
    past = {"experiment": "ranking", "unit": "u1", "covariate": "past", "value": 3}
    batch = [past, past, {**past, "value": 4}, {**past, "covariate": "age"}]
    answers = reasons(either.post("/v1/covariates", json=batch))
    assert answers[:2] == [None, None]
    assert str(answers[2]).endswith("4 is given, 3 is kept; a covariate is set once")
    assert answers[3] == "covariate 'age': experiment 'ranking' uses past"


def test_snapshots_make_a_series(either: TestClient) -> None:
    either.post("/v1/exposures", json=EXPOSURE)
    assert either.post("/v1/experiments/ranking/snapshots").json() == {"experiment": "ranking", "as_of": NOW}
    assert [each["as_of"] for each in either.get("/v1/experiments/ranking/series").json()["snapshots"]] == [NOW]


ADMINISTRATION = ("experiments/ranking/phases", "experiments/ranking/prune")
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
MUTATED = st.dictionaries(
    st.sampled_from([*EXPOSURE, *OUTCOME, "request_id", "forced", "propensity", "design", "bounds", "before", "start"]),
    JUNK,
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with make_client(quick_engine(tmp_path_factory.mktemp("fuzz"))) as made:
        begin(made)
        yield made


@given(
    path=st.sampled_from(
        [
            "exposures",
            "outcomes",
            "covariates",
            "experiments",
            "experiments/ranking/phases",
            "experiments/ranking/prune",
        ]
    ),
    change=MUTATED,
    base=st.sampled_from([EXPOSURE, OUTCOME, {"design": FIRST.to_json()}, {}]),
    batched=st.booleans(),
)
@settings(max_examples=80)
def test_no_json_makes_it_fail(
    fuzzed: TestClient, path: str, change: dict[str, Any], base: dict[str, Any], batched: bool
) -> None:
    document: object = {**base, **change}
    body = json.dumps([document, base] if batched else document)
    assert fuzzed.post(f"/v1/{path}", content=body).status_code < 500


@given(path=st.sampled_from(["exposures", "outcomes", "experiments"]), body=st.binary(max_size=200))
@settings(max_examples=50)
def test_no_bytes_make_it_fail(fuzzed: TestClient, path: str, body: bytes) -> None:
    for kind in ("application/json", "application/x-ndjson"):
        assert fuzzed.post(f"/v1/{path}", content=body, headers={"content-type": kind}).status_code < 500


@pytest.mark.parametrize(
    "body", [b"[" * 50_000, b"1" * 20_000, b'{"value": 1e999}', b'"\xff"', b'{"unit": "\\ud800"}', b"null", b"[[]]"]
)
def test_bodies_that_break_parsers_are_refused(either: TestClient, body: bytes) -> None:
    for path in ("outcomes", "experiments", "experiments/ranking/phases"):
        assert 200 <= either.post(f"/v1/{path}", content=body).status_code < 500


@given(name=st.text(min_size=1, max_size=10), unit=st.text(max_size=10))
@settings(max_examples=25)
def test_no_name_or_unit_makes_it_fail(fuzzed: TestClient, name: str, unit: str) -> None:
    path = quote(name, safe="", errors="replace")
    query = f"unit={quote(unit, errors='replace')}&candidate={path}"
    assert fuzzed.get(f"/v1/experiments/{path}/evidence?{query}").status_code < 500
    assert fuzzed.delete(f"/v1/units?{query}").status_code < 500
