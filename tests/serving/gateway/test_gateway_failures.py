"""Rankers that die, stall, refuse or are not ready: what clients get, and that nobody changes arms for it."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.gateway import assignment
from tests.serving.gateway.client import Answer, Client, Load
from tests.serving.gateway.gateways import SALT, Gateway, config_of, endpoint, gateway, wait_for
from tests.serving.gateway.upstream import Upstream, running

WEIGHT = 5000
UNITS = [f"u{place}" for place in range(400)]
CANDIDATES = [unit for unit in UNITS if assignment.bucket(SALT, unit) < WEIGHT]
BASELINES = [unit for unit in UNITS if assignment.bucket(SALT, unit) >= WEIGHT]


class Twins:
    """A gateway before one baseline and two candidates."""

    def __init__(self, started: Gateway, upstreams: tuple[Upstream, ...]) -> None:
        self.gateway = started
        self.baseline, self.first, self.second = upstreams
        self.gateway.set(50)

    def client(self) -> Client:
        return self.gateway.client()

    def candidates_seen(self) -> int:
        return len(self.first.seen) + len(self.second.seen)


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[Twins]:
    upstreams = Upstream("baseline"), Upstream("candidate"), Upstream("candidate")
    with running(*upstreams):
        config = config_of(
            [endpoint(upstreams[0])], [endpoint(upstreams[1]), endpoint(upstreams[2])], timeouts={"request": 3.0}
        )
        with gateway(tmp_path, config) as started:
            yield Twins(started, upstreams)


def ask_all(client: Client, units: list[str]) -> list[Answer]:
    return [client.rank(unit) for unit in units]


def test_a_killed_ranker_costs_no_request_where_its_arm_has_another(twins: Twins) -> None:
    load = Load(twins.gateway.envoy.port, 4, lambda place: UNITS[place % len(UNITS)])
    with load.running():
        wait_for(lambda: len(load.answers) > 200, "answers")
        before = len(load.answers)
        twins.first.kill()
        wait_for(lambda: len(load.answers) > before + 400 or bool(load.failures), "more answers")
        twins.gateway.wait_healthy(1, 1)
    assert load.failures == []
    # Some clients are faster than others, and which units have come by then is nobody's promise.
    answered = {unit: answer.arm for unit, answer in load.answers}
    assert answered == {unit: assignment.arm(assignment.bucket(SALT, unit), WEIGHT) for unit in answered}
    assert set(answered.values()) == {"baseline", "candidate"}


def test_a_request_in_flight_at_a_killed_ranker_is_answered_by_its_twin(twins: Twins) -> None:
    twins.first.delay_s = twins.second.delay_s = 0.3
    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.append(twins.client().rank(CANDIDATES[0])))
    asking.start()
    wait_for(lambda: twins.candidates_seen() == 1, "the request to be there")
    hit, other = (twins.first, twins.second) if twins.first.seen else (twins.second, twins.first)
    other.delay_s = 0
    hit.kill()
    asking.join()
    assert [(answer.status, answer.arm) for answer in answers] == [(200, "candidate")]
    assert len(other.seen) == 1


def test_an_arm_without_a_ranker_refuses_its_users_and_gives_none_to_the_other(twins: Twins) -> None:
    twins.first.kill()
    twins.second.kill()
    twins.gateway.wait_healthy(1, 0)
    seen = len(twins.gateway.lines(0))
    client = twins.client()
    refused, answered = ask_all(client, CANDIDATES[:20]), ask_all(client, BASELINES[:20])
    assert {(answer.status, answer.arm) for answer in refused} == {(503, "candidate")}
    assert "no healthy upstream" in refused[0].json["error"]
    assert {(answer.status, answer.arm) for answer in answered} == {(200, "baseline")}
    records = twins.gateway.records(seen + 40)[-40:]
    assert {(record.arm, record.excluded, record.flags) for record in records} == {
        ("candidate", "failed", "UH"),
        ("baseline", None, ""),
    }


def test_a_ranker_that_is_not_ready_gets_nothing_and_comes_back(twins: Twins) -> None:
    twins.first.ready = False
    twins.gateway.wait_healthy(1, 1)
    first, second = len(twins.first.seen), len(twins.second.seen)
    ask_all(twins.client(), CANDIDATES[:30])
    assert (len(twins.first.seen) - first, len(twins.second.seen) - second) == (0, 30)
    twins.first.ready = True
    twins.gateway.wait_healthy(1, 2)
    ask_all(twins.client(), CANDIDATES[:30])
    assert len(twins.first.seen) > first


def test_a_503_is_asked_of_the_twin_and_never_of_the_other_arm(twins: Twins) -> None:
    twins.first.status = 503
    answers = ask_all(twins.client(), CANDIDATES[:10])
    assert {(answer.status, answer.arm) for answer in answers} == {(200, "candidate")}
    assert twins.baseline.seen == []
    twins.second.status = 503
    answers = ask_all(twins.client(), CANDIDATES[10:13])
    assert {(answer.status, answer.arm) for answer in answers} == {(503, "candidate")}
    assert twins.baseline.seen == []


@pytest.mark.parametrize("status", [400, 429, 500, 504])
def test_what_a_ranker_has_judged_is_passed_on_and_not_asked_again(twins: Twins, status: int) -> None:
    twins.first.status = twins.second.status = status
    seen = twins.candidates_seen()
    assert twins.client().rank(CANDIDATES[0]).status == status
    assert twins.candidates_seen() == seen + 1


def test_a_slow_ranker_is_given_up_at_the_timeout_and_not_asked_again(twins: Twins) -> None:
    twins.first.delay_s = twins.second.delay_s = 5
    seen = len(twins.gateway.lines(0))
    answer = twins.client().rank(CANDIDATES[0])
    assert (answer.status, answer.arm) == (504, "candidate")
    assert twins.candidates_seen() == 1
    record = twins.gateway.records(seen + 1)[-1]
    assert (record.flags, record.excluded) == ("UT", "failed")
    assert {seen["x-envoy-expected-rq-timeout-ms"] for seen in twins.first.seen + twins.second.seen} == {"3000"}


def test_a_ranker_that_keeps_failing_is_left_alone_for_a_while_but_never_an_arms_last(twins: Twins) -> None:
    twins.first.status = 500
    client = twins.client()

    def ejected() -> bool:
        client.rank(CANDIDATES[0])
        return twins.gateway.live.hosts()["candidate"].healthy == 1

    wait_for(ejected, "the ejection")
    answers = ask_all(client, CANDIDATES[:30])
    assert {answer.status for answer in answers} == {200}
    twins.second.status = 500
    assert {answer.status for answer in ask_all(client, CANDIDATES[:30])} == {500}
    assert twins.gateway.live.hosts()["candidate"].healthy == 1


def test_an_attempt_with_a_limit_of_its_own_goes_to_the_twin(tmp_path: Path) -> None:
    upstreams = Upstream("baseline"), Upstream("candidate", delay_s=5), Upstream("candidate")
    with running(*upstreams):
        config = config_of(
            [endpoint(upstreams[0])],
            [endpoint(upstreams[1]), endpoint(upstreams[2])],
            timeouts={"request": 2.0, "attempt": 0.2},
        )
        with gateway(tmp_path, config) as started:
            started.set(100)
            answers = ask_all(started.client(), CANDIDATES[:6])
            assert {(answer.status, answer.arm) for answer in answers} == {(200, "candidate")}
            assert len(upstreams[1].seen) >= 1
            assert {seen["x-envoy-expected-rq-timeout-ms"] for seen in upstreams[2].seen} == {"200"}


def test_more_requests_than_an_arm_may_have_are_refused_at_once(tmp_path: Path) -> None:
    with running(Upstream("baseline", delay_s=0.5), Upstream("candidate")) as (baseline, candidate):
        few = {"connections": 1, "pending": 1, "requests": 1}
        config = config_of([endpoint(baseline)], [endpoint(candidate)], limits=few, timeouts={"request": 20})
        with gateway(tmp_path, config) as started:
            answers: list[Answer] = []
            asking = [threading.Thread(target=lambda: answers.append(started.client().rank("u1"))) for _ in range(6)]
            for thread in asking:
                thread.start()
            for thread in asking:
                thread.join()
    assert {answer.status for answer in answers} == {200, 503}
    assert all("overflow" in answer.json["details"] for answer in answers if answer.status == 503)


def test_a_request_larger_than_any_buffer_still_passes(twins: Twins) -> None:
    body = b"x" * (6 * 2**20)
    answer = twins.client().ask("POST", "/v2/models/mgoe/infer", {"x-mgoe-unit": BASELINES[0]}, body)
    assert answer.status == 200
    assert twins.baseline.seen[-1]["bytes"] == str(len(body))


def test_an_answer_that_breaks_off_is_no_evidence(twins: Twins) -> None:
    twins.baseline.halves = True
    seen = len(twins.gateway.lines(0))
    with pytest.raises(http.client.IncompleteRead):
        twins.client().rank(BASELINES[0])
    record = twins.gateway.records(seen + 1)[-1]
    assert (record.status, record.excluded) == (200, "failed")


def test_a_client_that_goes_away_is_no_evidence(twins: Twins) -> None:
    twins.baseline.delay_s = 0.3
    seen = len(twins.gateway.lines(0))
    head = f"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\nx-mgoe-unit: {BASELINES[0]}\r\ncontent-length: 0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", twins.gateway.envoy.port)) as connection:
        connection.sendall(head.encode())
        wait_for(lambda: len(twins.baseline.seen) == 1, "the request")
    record = twins.gateway.records(seen + 1)[-1]
    assert (record.status, record.excluded) == (0, "failed")


def test_a_body_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    with running(Upstream("baseline"), Upstream("candidate")) as (baseline, candidate):
        config = config_of([endpoint(baseline)], [endpoint(candidate)], timeouts={"body": 0.3})
        with (
            gateway(tmp_path, config) as started,
            socket.create_connection(("127.0.0.1", started.envoy.port), timeout=10) as connection,
        ):
            connection.sendall(b"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nhalf")
            assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_a_host_name_stands_for_its_addresses(tmp_path: Path) -> None:
    with running(Upstream("baseline"), Upstream("candidate")) as (baseline, candidate):
        config = config_of([endpoint(baseline)], [endpoint(candidate) | {"host": "localhost"}])
        with gateway(tmp_path, config) as started:
            assert started.client().rank("u1", {"x-mgoe-variant": "candidate"}).status == 200
