"""The agent beside a real Envoy, before an API server that does what a test says."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from model.errors import Fault, UserError
from serving.gateway import desired
from serving.gateway.agent import Agent
from serving.gateway.agent_server import make_app
from serving.gateway.config import Endpoint, Side
from serving.gateway.desired import DesiredSplit, parse_desired
from serving.gateway.exposure_sender import ExposureSender
from serving.gateway.folder import GatewayFolder
from serving.gateway.live import LiveSplit
from serving.gateway.log_spool import LogSpool
from tests.serving.gateway.client import Load
from tests.serving.gateway.config_map_api import ConfigMapApi, client, served
from tests.serving.gateway.gateways import Gateway, config_of, endpoint, gateway, wait_for
from tests.serving.gateway.upstream import Upstream, running

UNITS = [f"user-{place}" for place in range(100)]


@dataclass
class Pod:
    """One gateway pod: Envoy, agent, and the API server that it follows."""

    gateway: Gateway
    agent: Agent
    api: ConfigMapApi
    rankers: dict[str, Upstream]

    def wait_stratum(self, stratum: int, seconds: float = 20.0) -> None:
        wait_for(lambda: self.agent.told()["stratum"] == stratum, f"stratum {stratum}", seconds)


@contextlib.contextmanager
def following(agent: Agent) -> Iterator[None]:
    stop = threading.Event()
    worker = threading.Thread(target=agent.follow, args=(stop,), daemon=True)
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join(10)
        assert not worker.is_alive()


@pytest.fixture
def rankers(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Upstream]]:
    """Services one, two and three, where a cluster's DNS would find them."""
    with running(Upstream("one"), Upstream("two"), Upstream("three")) as started:
        found = {each.arm: each for each in started}

        def side(_: Side, service: str, __: str) -> Side:
            return Side(endpoints=(Endpoint(host="127.0.0.1", http=found[service].port),))

        monkeypatch.setattr(desired, "_side", side)
        yield found


@pytest.fixture
def pod(tmp_path: Path, rankers: dict[str, Upstream], monkeypatch: pytest.MonkeyPatch) -> Iterator[Pod]:
    monkeypatch.setattr("serving.gateway.config_map.WATCH_S", 1)
    api = ConfigMapApi()
    config = config_of(
        [endpoint(rankers["one"])], [endpoint(rankers["two"])], experiment={"id": "none", "salt": "none"}
    )
    with gateway(tmp_path / "gateway", config) as started, served(api) as address:
        agent = Agent(started.live, config, client(address), None, "replica-1")
        yield Pod(started, agent, api, rankers)


def test_a_split_is_routed_soon_after_it_was_written_and_told_as_envoy_has_it(pod: Pod) -> None:
    assert not pod.agent.ready
    with following(pod.agent):
        wait_for(lambda: pod.agent.ready, "readiness")
        assert pod.agent.told()["experiment"] == "none"
        version = pod.api.split(stratum=7, weight=500, run="run-1", owner="ranking/feed/uid")
        pod.wait_stratum(7)
        wait_for(lambda: pod.agent.told()["version"] == version, "the version")
        told = dict(pod.agent.told())
    assert told == {
        "replica": "replica-1",
        "experiment": "feed.1a2b",
        "salt": "feed.1a2b",
        "stratum": 7,
        "weight": 500,
        "mirror": 0,
        "version": version,
        "run": "run-1",
        "owner": "ranking/feed/uid",
        "arms": {"baseline": {"healthy": 1, "known": 1}, "candidate": {"healthy": 1, "known": 1}},
        "problem": None,
    }
    pod.gateway.client().rank("user-1")
    [record] = pod.gateway.records(1)
    assert (record.experiment, record.phase, record.propensity) == ("feed.1a2b", 7, 0.05)


def test_every_change_of_a_ramp_is_routed_under_its_own_stratum_and_nothing_is_dropped(pod: Pod) -> None:
    with following(pod.agent), Load(pod.gateway.envoy.port, 2, lambda place: UNITS[place % 100]).running() as load:
        for stratum, weight in enumerate((100, 500, 2000, 5000, 10_000, 0), start=2):
            pod.api.split(stratum=stratum, weight=weight)
            pod.wait_stratum(stratum)
            so_far = len(load.answers)
            wait_for(lambda: len(load.answers) > so_far + 10, "answers")  # noqa: B023
    assert load.failures == []
    by_phase = {record.phase: record.propensity for record in pod.gateway.records(len(load.answers))}
    assert {stratum: by_phase[stratum] for stratum in range(2, 8) if stratum in by_phase} == {
        stratum: weight / 10_000
        for stratum, weight in enumerate((100, 500, 2000, 5000, 10_000, 0), start=2)
        if stratum in by_phase
    }
    assert len(by_phase) >= 6


def _digests(pod: Pod) -> set[str]:
    """Who answers on twenty connections: each has a worker of Envoy's."""
    found = set()
    for unit in UNITS[:20]:
        with contextlib.closing(pod.gateway.client()) as asking:
            found.add(asking.rank(unit).headers["x-mgoe-digest"])
    return found


def test_an_arms_services_change_without_one_user_lost_and_none_on_a_service_that_has_no_part_in_it(pod: Pod) -> None:
    """After a promotion, the next rollout: one/two at 100 % becomes two/three at 0 %."""
    with following(pod.agent):
        pod.api.split(stratum=1, weight=10_000)
        pod.wait_stratum(1)
        wait_for(lambda: _digests(pod) == {"digest-of-two"}, "Envoy's workers, which follow its main thread")
        pod.rankers["one"].ready = False  # what was replaced may go at any time
        pod.rankers["three"].status = 500
        with Load(pod.gateway.envoy.port, 2, lambda place: UNITS[place % 100]).running() as load:
            wait_for(lambda: len(load.answers) > 20, "answers")
            pod.api.split(
                experiment="next.1",
                salt="next.1",
                stratum=2,
                weight=0,
                services={"baseline": "two", "candidate": "three"},
            )
            pod.wait_stratum(2)
            so_far = len(load.answers)
            wait_for(
                lambda: len(load.answers) > so_far + 50 and pod.agent.told()["version"] == str(pod.api.version), "more"
            )
    assert load.failures == []
    assert {answer.status for _, answer in load.answers} == {200}
    assert {answer.headers["x-mgoe-digest"] for _, answer in load.answers} == {"digest-of-two"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"split.json": "{"}, "split.json"),
        ({"split.json": json.dumps({"version": 2})}, "version"),
        ({"other": "x"}, "has no split.json"),
    ],
)
def test_what_is_no_split_changes_nothing_and_is_told(data: dict[str, str], words: str, pod: Pod) -> None:
    with following(pod.agent):
        pod.api.split(stratum=3, weight=2000)
        pod.wait_stratum(3)
        pod.api.put(data)
        wait_for(lambda: pod.agent.health.problem is not None, "the problem")
        assert words in pod.agent.told()["problem"]
        assert (pod.agent.told()["stratum"], pod.agent.told()["weight"]) == (3, 2000)
        assert pod.agent.ready
        pod.api.split(stratum=4, weight=3000)
        pod.wait_stratum(4)
        wait_for(lambda: pod.agent.health.problem is None, "no problem")


def test_a_new_pod_without_a_config_map_is_not_ready_and_an_old_one_stays_as_it_is(pod: Pod) -> None:
    pod.api.put(None)
    with following(pod.agent):
        wait_for(lambda: pod.agent.health.problem is not None, "the problem")
        assert "is not there" in str(pod.agent.health.problem)
        assert not pod.agent.ready
        pod.api.split(stratum=2, weight=100)
        pod.wait_stratum(2)
        wait_for(lambda: pod.agent.ready, "readiness")
        pod.api.put(None)
        wait_for(lambda: pod.agent.health.problem is not None, "the problem")
        assert pod.agent.told()["weight"] == 100


def test_without_the_api_server_it_goes_on_and_a_restarted_agent_is_ready(pod: Pod) -> None:
    with following(pod.agent):
        pod.api.split(stratum=5, weight=700)
        pod.wait_stratum(5)
        wait_for(lambda: pod.agent.told()["version"] is not None, "the version")
        pod.api.status = 503
        wait_for(lambda: "503" in str(pod.agent.health.problem), "the problem")
        assert pod.agent.told()["weight"] == 700
    again = Agent(pod.gateway.live, pod.gateway.envoy.config, pod.agent._wanted, None, "replica-1")
    assert again.ready
    pod.api.status = 200
    with following(again):
        pod.api.split(stratum=6, weight=0)
        pod.wait_stratum(6)


def test_a_change_whose_event_was_lost_is_found_by_the_next_reading(pod: Pod) -> None:
    pod.api.deaf = True
    with following(pod.agent):
        wait_for(lambda: pod.agent.ready, "readiness")
        pod.api.split(stratum=9, weight=100)
        pod.wait_stratum(9, 5)


def test_who_writes_may_have_the_agent_look_at_once_whatever_its_watch_does(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An abort must not wait for a watch that is open and silent."""
    monkeypatch.setattr("serving.gateway.config_map.WATCH_S", 30)
    pod.api.deaf = True
    with following(pod.agent), TestClient(make_app(pod.agent)) as paths:
        wait_for(lambda: pod.agent.ready, "readiness")
        wait_for(lambda: pod.api.asked[-1].startswith("watch"), "the watch")
        pod.api.split(stratum=9, weight=0)
        answer = paths.post("/v1/look")
        assert (answer.status_code, answer.json()["stratum"]) == (200, 9)
        pod.api.status = 503
        answer = paths.post("/v1/look")
        assert (answer.status_code, answer.json()["stratum"]) == (200, 9)  # what is routed is told all the same
        assert "503" in answer.json()["problem"]
        pod.api.stop()


def test_while_envoy_is_down_the_split_waits_in_its_files(pod: Pod) -> None:
    with following(pod.agent):
        wait_for(lambda: pod.agent.ready, "readiness")
        pod.gateway.envoy.kill()
        pod.api.split(stratum=4, weight=1500)
        wait_for(lambda: pod.gateway.folder.split().phase == 4, "the file")
        with pytest.raises(Fault):
            pod.agent.told()
        # The container is started again on the files of its pod.
        process = pod.gateway.envoy
        process.folder.admin_address.unlink(missing_ok=True)
        with (process.folder.root / "again.log").open("ab") as log:
            started = subprocess.Popen(process._command(), stdout=log, stderr=log)
        try:
            wait_for(lambda: _routed(pod) == 4, "Envoy's restart")
        finally:
            started.kill()
            started.wait()


def _routed(pod: Pod) -> int | None:
    try:
        return pod.gateway.live.weights().phase
    except Fault:
        return None


def test_two_replicas_route_every_unit_alike(tmp_path: Path, pod: Pod) -> None:
    config = pod.gateway.envoy.config
    with gateway(tmp_path / "second", config) as second, served(pod.api) as address:
        other = Agent(second.live, config, client(address), None, "replica-2")
        with following(pod.agent), following(other):
            pod.api.split(stratum=2, weight=4000)
            pod.wait_stratum(2)
            wait_for(lambda: other.told()["stratum"] == 2, "the second replica")
            arms = [[each.client().rank(unit).arm for unit in UNITS] for each in (pod.gateway, second)]
    assert arms[0] == arms[1]
    assert Counter(arms[0])["candidate"] > 20


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"weight": 10_001}, "weight"),
        ({"stratum": 0}, "stratum"),
        ({"salt": "a b"}, "salt"),
        ({"services": {"baseline": "a"}}, "services.candidate"),
        ({"services": {"baseline": "a.b", "candidate": "c"}}, "services.baseline"),
        ({"percent": 5}, "percent"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], words: str) -> None:
    whole = {"experiment": "e", "salt": "s", "stratum": 1, "weight": 0, "services": {"baseline": "a", "candidate": "b"}}
    DesiredSplit.model_validate(whole)
    with pytest.raises(UserError, match=f"x: {words}"):
        parse_desired(json.dumps(whole | fields), "x")


def test_rankers_are_services_of_the_gateways_namespace_on_its_own_ports() -> None:
    base = config_of([{"host": "old", "http": 8080, "grpc": 8081}], [{"host": "old2", "http": 8080, "grpc": 8081}])
    wanted = DesiredSplit.model_validate(
        {"experiment": "e", "salt": "s", "stratum": 1, "weight": 0, "services": {"baseline": "a", "candidate": "b"}}
    )
    made = wanted.config(base, "ranking")
    assert made.candidate.endpoints == (Endpoint(host="b.ranking.svc", http=8080, grpc=8081),)
    assert (made.experiment.id, made.experiment.salt) == ("e", "s")
    assert made.health == base.health


def test_the_paths_tell_what_envoy_routes_by_and_only_read(pod: Pod) -> None:
    http = TestClient(make_app(pod.agent))
    assert http.get("/health/ready").status_code == 503
    with following(pod.agent):
        pod.api.split(stratum=2, weight=300)
        pod.wait_stratum(2)
        wait_for(lambda: http.get("/health/ready").status_code == 200, "readiness")
    assert http.get("/v1/split").json()["weight"] == 300
    pod.gateway.client().rank("user-1")
    assert http.get("/health/live").json()["live"]
    metrics = http.get("/metrics").text
    for line in (
        'mgoe_gateway_weight{experiment="feed.1a2b"} 0.03',
        "mgoe_gateway_envoy_up 1.0",
        "envoy_server_live{} 1",
    ):
        assert line in metrics, line
    for path in ("/v1/split", "/metrics", "/health/ready"):
        assert http.post(path).status_code == 405
    pod.gateway.envoy.kill()
    assert http.get("/v1/split").status_code == 503
    assert "does not answer" in http.get("/v1/split").json()["problem"]
    assert "mgoe_gateway_envoy_up 0.0" in http.get("/metrics").text


class Evidence:
    """What the evidence service answers, and what reached it."""

    def __init__(self) -> None:
        self.status = 200
        self.events: list[dict[str, Any]] = []
        self.batches: list[int] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        events = json.loads(request.content)
        self.batches.append(len(events))
        if self.status != 200:
            return httpx.Response(self.status, json={"error": "as told"})
        self.events += events
        answers = [{"event_id": each["exposure_id"], "status": "accepted"} for each in events]
        return httpx.Response(200, json={"answers": answers})


def sender_of(
    root: Path, answer: Callable[[httpx.Request], httpx.Response], token: Path | None = None
) -> ExposureSender:
    spool = LogSpool(GatewayFolder(root), lambda: None)
    transport = httpx.MockTransport(answer)
    return ExposureSender(spool, httpx.Client(transport=transport, base_url="http://evidence:8090"), token)


def lines_of(count: int, **fields: Any) -> str:
    line = {
        "kind": "rank",
        "experiment": "ranking",
        "phase": 1,
        "candidate_weight": 1000,
        "rule": "split",
        "arm": "baseline",
        "unit": "u1",
        "digest": "b0",
        "digest_trailer": None,
        "exposure_id_trailer": None,
        "request_id": "r",
        "shadow": None,
        "status": 200,
        "grpc_status": None,
        "flags": "-",
        "time": "1700000000.5",
        "upstream_us": 5,
        "duration_us": 6,
    }
    return "".join(json.dumps(line | {"exposure_id": f"e{place}"} | fields) + "\n" for place in range(count))


def test_exposures_are_sent_once_each_and_the_place_survives_a_restart(tmp_path: Path) -> None:
    service, counts = Evidence(), Counter[str]()
    (tmp_path / "access.log").write_text(lines_of(2500) + "no json\n" + lines_of(1, status=500))
    assert sender_of(tmp_path, service).step(counts) > 0
    while sender_of(tmp_path, service).step(counts):
        pass
    assert [event["exposure_id"] for event in service.events] == [f"e{place}" for place in range(2500)]
    assert counts == {"accepted": 2500, "malformed": 1, "excluded": 1}
    assert max(service.batches) <= 1000


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 503])
def test_what_the_service_does_not_take_now_is_sent_again(status: int, tmp_path: Path) -> None:
    service, counts = Evidence(), Counter[str]()
    (tmp_path / "access.log").write_text(lines_of(3))
    service.status = status
    sender = sender_of(tmp_path, service)
    with pytest.raises(Fault, match=f"answers {status}: as told"):
        sender.step(counts)
    assert counts == {}
    service.status = 200
    sender.step(counts)
    assert counts == {"accepted": 3}


def test_what_the_service_will_never_take_does_not_stop_the_rest(tmp_path: Path) -> None:
    service, counts = Evidence(), Counter[str]()
    (tmp_path / "access.log").write_text(lines_of(3))
    service.status = 400
    sender_of(tmp_path, service).step(counts)
    assert counts == {"refused": 3}


def test_a_service_that_is_away_is_a_fault_and_so_is_an_answer_that_is_none(tmp_path: Path) -> None:
    def away(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    (tmp_path / "access.log").write_text(lines_of(1))
    with pytest.raises(Fault, match="does not answer"):
        sender_of(tmp_path, away).step(Counter())
    with pytest.raises(Fault, match="what it should not"):
        sender_of(tmp_path, lambda _: httpx.Response(200, json={})).step(Counter())


def test_requests_before_any_experiment_are_not_sent(tmp_path: Path) -> None:
    service, counts = Evidence(), Counter[str]()
    (tmp_path / "access.log").write_text(lines_of(2, experiment="none"))
    sender_of(tmp_path, service).step(counts)
    assert (service.events, counts) == ([], {"excluded": 2})


def test_the_token_is_read_anew_for_every_request(tmp_path: Path) -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return Evidence()(request)

    token = tmp_path / "token"
    for content in ("one", "two"):
        token.write_text(f"{content}\n")
        (tmp_path / "access.log").open("a").write(lines_of(1))
        sender_of(tmp_path, answer, token).step(Counter())
    assert seen == ["Bearer one", "Bearer two"]
    token.unlink()
    (tmp_path / "access.log").open("a").write(lines_of(1))
    with pytest.raises(Fault, match="token"):
        sender_of(tmp_path, answer, token).step(Counter())


def test_the_evidence_service_takes_what_a_real_gateway_logged(pod: Pod, tmp_path: Path) -> None:
    from serving.evidence.app import make_app as make_evidence
    from serving.evidence.service import Service
    from serving.evidence.tokens import Tokens
    from serving.experiment.design import Design, Metric
    from tests.serving.evidence.conftest import quick_engine

    with following(pod.agent):
        pod.api.split(stratum=3, weight=5000)
        pod.wait_stratum(3)
    for unit in UNITS[:20]:
        pod.gateway.client().rank(unit)
    pod.gateway.client().rank("user-1", {"x-mgoe-variant": "candidate"})
    pod.gateway.client().rank()
    pod.gateway.lines(22)
    metric = Metric("ctr", "ratio", "click", denominator="exposures")
    design = Design("feed.1a2b", "feed.1a2b", "digest-of-one", "digest-of-two", (metric,))
    service = Service(quick_engine(tmp_path), Tokens.open())
    with TestClient(make_evidence(service)) as http:

        def forward(request: httpx.Request) -> httpx.Response:
            answer = http.post(request.url.path, content=request.content, headers=dict(request.headers))
            return httpx.Response(answer.status_code, content=answer.content)

        http.post("/v1/experiments", json={"design": design.to_json(), "bounds": {}}).raise_for_status()
        phase = {"phase": 3, "start": time.time() - 60, "candidate_weight": 0.5}
        http.post("/v1/experiments/feed.1a2b/phases", json=phase).raise_for_status()
        counts = Counter[str]()
        spool = LogSpool(pod.gateway.folder, lambda: None)
        sender = ExposureSender(spool, httpx.Client(transport=httpx.MockTransport(forward), base_url="http://evidence"))
        sender.step(counts)
        assert counts == {"accepted": 21, "excluded": 1}
        exposed = http.get("/v1/experiments/feed.1a2b/evidence").json()["exposed"]
    units = [each["units"] for each in exposed]
    assert sum(each["baseline"] + each["candidate"] for each in units) == 20
    assert min(sum(each[arm] for each in units) for arm in ("baseline", "candidate")) > 0


def test_the_log_is_sent_and_cut_while_it_grows_and_emptied_at_the_end(pod: Pod) -> None:
    service = Evidence()
    live: LiveSplit = pod.gateway.live
    reopened = []

    def reopen() -> None:
        live.admin().reopen_logs()
        reopened.append(True)

    spool = LogSpool(pod.gateway.folder, reopen, file_bytes=2000, linger_s=0.5)
    transport = httpx.MockTransport(service)
    pod.agent.sender = ExposureSender(spool, httpx.Client(transport=transport, base_url="http://evidence"))
    with following(pod.agent):
        pod.api.split(stratum=2, weight=5000)
        pod.wait_stratum(2)
    stop = threading.Event()
    worker = threading.Thread(target=pod.agent.send, args=(stop,))
    worker.start()
    for place in range(60):
        pod.gateway.client().rank(f"user-{place}")
        if place % 20 == 19:
            time.sleep(0.5)  # Envoy writes every 0.2 s
            spool.tend()
    stop.set()
    worker.join(20)
    # A worker that is stopped sends what is there; what lay behind a file that lingered is there for the next one.
    while pod.agent.sender.step(Counter()):
        pass
    assert {event["unit"] for event in service.events} == {f"user-{place}" for place in range(60)}
    spool.tend()
    assert len(reopened) >= 3
    assert spool.waiting_bytes == 0
    assert spool.lost_bytes == 0
