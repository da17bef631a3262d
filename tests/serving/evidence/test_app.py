"""The HTTP face: answers by event, roles, caps; nothing that is sent makes it answer 500."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2 as httpx
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from serving.evidence import intake, writer
from serving.evidence.app import make_app
from serving.evidence.engine import POOL
from serving.evidence.event import Answer
from serving.evidence.limits import Limits
from serving.evidence.service import LOOPBACK, Service
from serving.evidence.tokens import Tokens
from serving.evidence.work import Work
from serving.experiment.design import Metric
from tests.serving.evidence.conftest import quick_engine
from tests.serving.evidence.evidence_world import FIRST, METRICS, PHASES, T0

NOW = T0 + 1000.0
LIMITS = Limits(body_bytes=100_000, batch_events=100, unit_events=5)
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
    client = TestClient(make_app(service), raise_server_exceptions=False)
    client.headers["content-type"] = "application/json"
    return client


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
    *(
        (kind, {"unit": unit}, f"unit {unit!r}: 1 to 256 characters without white space, controls and commas")
        for kind in ("outcomes", "exposures")
        for unit in ("a b", " a", "a,b")
    ),
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
    assert str(second).startswith("line 2: not JSON")


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
    assert answer.json()["reason"] == "event_id 'o1': value 2 is given, 1.5 is kept already"
    answer = client.post("/v1/outcomes", json={**OUTCOME, "time": T0 + 2.5})
    assert answer.json()["reason"] == f"event_id 'o1': time {T0 + 2.5} is given, {T0 + 1} is kept already"
    client.post("/v1/exposures", json=EXPOSURE)
    answer = client.post("/v1/exposures", json={**EXPOSURE, "unit": "u2"})
    assert answer.json()["reason"] == "exposure_id 'e1': unit 'u2' is given, 'u1' is kept already"


def test_events_beyond_the_cap_of_a_unit_are_refused_whatever_their_time_and_the_unit_is_counted(
    either: TestClient,
) -> None:
    either.post("/v1/exposures", json=EXPOSURE)
    batch = [{**OUTCOME, "event_id": f"o{n}", "time": T0 + 100 * n + 1} for n in range(7)]
    answers = reasons(either.post("/v1/outcomes", json=batch))
    assert answers[:5] == [None] * 5
    assert answers[5] == "unit 'u1': more than 5 outcomes 'click' in one experiment"
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


def test_values_on_both_sides_of_zero_ask_for_a_number_of_events(client: TestClient) -> None:
    design = {**FIRST.to_json(), "experiment": "net", "metrics": [Metric("net", "mean", "buy").to_json()]}
    for lowest, status in ((-5, 400), (0, 201)):
        answer = client.post("/v1/experiments", json={"design": design, "bounds": {"buy": {"lowest": lowest}}})
        assert answer.status_code == status
        assert status == 201 or "metric 'net': 'buy' may be below 0" in answer.json()["error"]
    told = {**design, "experiment": "told", "metrics": [Metric("net", "mean", "buy", min_events=0).to_json()]}
    body = {"design": told, "bounds": {"buy": {"lowest": -5}}}
    assert client.post("/v1/experiments", json=body).status_code == 201


@pytest.mark.parametrize(
    ("path", "named", "event"),
    [("exposures", "exposure_id", EXPOSURE), ("outcomes", "event_id", OUTCOME)],
)
def test_an_event_without_its_id_is_answered_without_one(
    client: TestClient, path: str, named: str, event: dict[str, Any]
) -> None:
    nameless = {**event, "exposure_id": "x"} if path == "outcomes" else dict(event)
    del nameless[named]
    answer = client.post(f"/v1/{path}", json=nameless).json()
    assert (answer["event_id"], answer["status"]) == (None, "refused")


def test_a_design_is_registered_once_and_never_changed(client: TestClient) -> None:
    design = FIRST.to_json()
    bounds = {"buy": {"lowest": -5, "highest": 100}}
    assert client.post("/v1/experiments", json={"design": design, "bounds": bounds}).status_code == 200
    answer = client.post("/v1/experiments", json={"design": {**design, "alpha": 0.1}, "bounds": bounds})
    assert answer.status_code == 409
    assert "is registered with another alpha: 0.05, not 0.1; a design" in answer.json()["error"]
    answer = client.post("/v1/experiments", json={"design": design, "bounds": {"buy": {}}})
    assert answer.status_code == 409
    assert "is registered with other bounds: 'buy' -5 to 100; a design" in answer.json()["error"]
    assert client.post("/v1/experiments", json={"design": design}).status_code == 200
    answer = client.post("/v1/experiments", json={"design": design, "bounds": {"nosuch": {}}})
    says = "bounds of 'nosuch': no metric counts it; outcomes of the design are buy, click"
    assert (answer.status_code, answer.json()["error"]) == (400, says)
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
    entered, opened = threading.Event(), threading.Event()
    take = intake.take

    def slow(*arguments: Any) -> list[Answer]:
        entered.set()
        assert opened.wait(60)
        return take(*arguments)

    with make_client(sqlite_engine, limits=Limits(queue_events=1)) as client, ThreadPoolExecutor() as pool:
        begin(client)
        monkeypatch.setattr(writer, "take", slow)
        first = pool.submit(client.post, "/v1/outcomes", json=OUTCOME)
        assert entered.wait(60)
        crowd = [pool.submit(client.post, "/v1/outcomes", json=OUTCOME) for _ in range(2)]
        refused = next(as_completed(crowd)).result()  # the one that finds no place is the first to be answered
        opened.set()
        assert first.result().status_code == 200
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert refused.json() == {"error": "1 events wait already, at most 1 may"}


def test_a_units_data_is_deleted_over_http(either: TestClient) -> None:
    either.post("/v1/exposures", json=EXPOSURE)
    either.post("/v1/outcomes", json=OUTCOME)
    assert either.post("/v1/deletions", json={"unit": "u1"}).json() == {"deleted": 2}
    evidence = either.get("/v1/experiments/ranking/evidence").json()
    assert [sum(one["units"].values()) for one in evidence["exposed"]] == [0, 0]
    assert all(each["strata"] == [] for each in evidence["metrics"])
    assert either.post("/v1/exposures", json=EXPOSURE).json()["kind"] == "deleted"
    assert either.delete("/v1/units?unit=a&unit=b").status_code == 404


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
            "deletions",
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


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[" * 50_000, "body: not JSON that can be read: it is nested too deeply"),
        (b"1" * 20_000, "body: not JSON that can be read: a number of thousands of digits"),
        (b'"\xff"', "body: not JSON: no UTF-8 at byte 1"),
        (b"{", "body: not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ],
)
def test_a_body_that_is_no_json_is_refused_by_what_is_wrong_with_it(client: TestClient, body: bytes, says: str) -> None:
    answer = client.post("/v1/outcomes", content=body)
    assert (answer.status_code, answer.json()["error"]) == (400, says)


@given(name=st.text(min_size=1, max_size=10), unit=st.text(max_size=10))
@settings(max_examples=25)
def test_no_name_or_unit_makes_it_fail(fuzzed: TestClient, name: str, unit: str) -> None:
    path = quote(name, safe="", errors="replace")
    assert fuzzed.get(f"/v1/experiments/{path}/evidence?candidate={path}").status_code < 500
    assert fuzzed.post("/v1/deletions", json={"unit": unit, "experiment": name}).status_code < 500


DESIGNS = st.sampled_from(["alpha", "slice_s", "planned_units", "burn_in", "salt", "metrics", "min_effect"])
HUGE = st.sampled_from([10**400, -(10**400), 10**19, 1e308, -1, 0]) | JUNK


@given(
    field=DESIGNS,
    metric=st.sampled_from(["cap", "maturity_s", "margin", "kind", "value", "denominator"]),
    value=HUGE,
    run=st.integers(2, 10**9),
)
@settings(max_examples=60)
def test_no_design_makes_it_fail_then_or_when_its_evidence_is_read(
    fuzzed: TestClient, field: str, metric: str, value: object, run: int
) -> None:
    design = {**FIRST.to_json(), "experiment": "fuzzed", "candidate_digest": f"c{run}"}
    changed = [{**METRICS[0].to_json(), metric: value}]
    for document in ({**design, field: value}, {**design, "metrics": changed}):
        answer = fuzzed.post("/v1/experiments", content=json.dumps({"design": document}))
        assert answer.status_code < 500
        assert fuzzed.get("/v1/experiments/fuzzed/evidence").status_code < 500


def test_only_json_is_taken_so_that_a_page_of_another_site_cannot_write(client: TestClient) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = client.post("/v1/experiments/ranking/end", headers={"content-type": kind})
        assert answer.status_code == 415
    assert client.post("/v1/outcomes", json=OUTCOME).status_code == 200


def test_without_tokens_it_answers_to_no_other_name(sqlite_engine: Engine) -> None:
    service = Service(sqlite_engine, Tokens.open(), hosts=LOOPBACK)
    with TestClient(make_app(service), base_url="http://rebound.example") as client:
        answer = client.get("/v1/experiments")
        assert answer.status_code == 421
        assert "'rebound.example': without tokens it answers to 127.0.0.1, ::1, localhost" in answer.json()["error"]
        for name in ("http://localhost:8090", "http://127.0.0.1", "http://[::1]:80"):
            assert client.get(f"{name}/v1/experiments").status_code == 200


def test_an_exposure_survives_a_request_id_that_is_not_kept(client: TestClient) -> None:
    for number, request in enumerate(["a\tb", "", "x" * 300]):
        event = {**EXPOSURE, "exposure_id": f"r{number}", "request_id": request}
        assert client.post("/v1/exposures", json=event).json()["status"] == "accepted"
    assert client.post("/v1/exposures", json={**EXPOSURE, "request_id": 7}).status_code == 422


def test_where_all_connections_are_taken_it_says_so_and_still_writes(
    sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make_client(sqlite_engine) as client:
        begin(client)
        monkeypatch.setattr(sqlite_engine.pool, "_timeout", 0.05)
        held = [sqlite_engine.raw_connection() for _ in range(POOL)]
        try:
            answer = client.get("/v1/experiments")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert answer.json()["error"].endswith("all connections are taken")
            assert client.get("/health/ready").status_code == 503
            assert client.post("/v1/outcomes", json=OUTCOME).status_code == 200
        finally:
            for each in held:
                each.close()
        assert client.get("/health/ready").status_code == 200


def test_work_that_fails_is_told_of_and_goes_on(sqlite_engine: Engine) -> None:
    now, calls = [0.0], []

    def step() -> bool:
        calls.append(1)
        raise FileNotFoundError("access.log")

    work = Work("follow", 1.0, step, essential=True, clock=lambda: now[0])
    assert [work.once(), work.once()] == [False, False]
    assert len(calls) == 2
    with TestClient(make_app(Service(sqlite_engine, Tokens.open()), [work])) as client:
        now[0] = 100.0
        assert client.get("/health/ready").json() == {"ready": True, "seconds_since_success": {"follow": 100.0}}
        now[0] = 304.0
        assert client.get("/health/ready").status_code == 503
        assert 'mgoe_evidence_work_age_seconds{work="follow"} 304.0' in client.get("/metrics").text


def test_an_ended_experiment_keeps_its_evidence_and_nothing_of_its_units(either: TestClient) -> None:
    either.post("/v1/exposures", json=EXPOSURE)
    either.post("/v1/outcomes", json=OUTCOME)
    before = either.get("/v1/experiments/ranking/evidence").json()
    assert either.post("/v1/experiments/ranking/end").json() == {"deleted": 2}
    assert either.post("/v1/experiments/ranking/end").json() == {"deleted": 0}
    assert either.get("/v1/experiments/ranking/evidence").json() == before
    answer = either.post("/v1/outcomes", json={**OUTCOME, "event_id": "late"})
    assert answer.json()["kind"] == "ended"
    start = {"phase": 9, "start": T0, "candidate_weight": 0.2}
    assert either.post("/v1/experiments/ranking/phases", json=start).status_code == 409
