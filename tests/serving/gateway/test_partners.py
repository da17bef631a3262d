"""Envoys that share one port: connections go to whichever runs, and a weight holds once all of them have it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from model.errors import Fault
from serving.gateway.admin import NotRunningError
from serving.gateway.envoy import Envoy
from serving.gateway.folder import GatewayFolder
from serving.gateway.live import LiveSplit
from serving.stack.ports import chosen
from tests.serving.gateway.client import Client
from tests.serving.gateway.gateways import PATIENT, config_of, endpoint, wait_for
from tests.serving.gateway.upstream import Upstream, running


@dataclass
class Two:
    """Both Envoys, and what is asked of them together."""

    one: Envoy
    two: Envoy

    @property
    def live(self) -> LiveSplit:
        return LiveSplit(self.one.folder)

    def ask(self, times: int) -> list[int]:
        """Answers to as many connections."""
        found = []
        for number in range(times):
            client = Client(self.one.port)
            found.append(client.rank(f"user-{number}").status)
            client.close()
        return found


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    ports = chosen(("gateway", "one", "two"), {}, {})
    with running(Upstream("baseline"), Upstream("candidate")) as (baseline, candidate), contextlib.ExitStack() as stack:
        config = config_of(
            [endpoint(baseline)],
            [endpoint(candidate)],
            **PATIENT,
            listener={"port": ports["gateway"]},
            admin={"port": ports["one"], "partners": [ports["two"]]},
        )
        envoys = [Envoy(GatewayFolder(tmp_path, number), config, settle_s=0.0, drain_s=5) for number in (1, 2)]
        made = Two(*[stack.enter_context(envoy) for envoy in envoys])
        wait_for(lambda: made.live.hosts()["candidate"].healthy == 1, "healthy rankers in both")
        yield made


def logged(envoy: Envoy) -> int:
    return len(envoy.folder.access_log.read_bytes().splitlines())


def test_connections_go_to_both_and_each_has_a_log_of_its_own(two: Two) -> None:
    assert two.one.port == two.two.port
    assert set(two.ask(40)) == {200}
    wait_for(lambda: logged(two.one) + logged(two.two) == 40, "lines in both logs")
    assert min(logged(two.one), logged(two.two)) > 0


def test_a_killed_one_takes_no_connection_and_no_weight_along(two: Two) -> None:
    two.live.set_weights(3000)
    assert [each.candidate_weight for each in two.live.admin().splits()] == [3000, 3000]
    two.one.kill()
    assert set(two.ask(40)) == {200}
    with pytest.raises(NotRunningError):
        two.one.admin.ready()
    assert two.live.weights().candidate_weight == 3000
    changed = two.live.set_weights(5000)  # nobody waits for the dead
    assert changed.candidate_weight == 5000
    two.one.start()
    assert two.live.admin().splits() == (changed, changed)


def test_one_that_stands_still_is_not_taken_for_dead(two: Two) -> None:
    os.kill(two.two.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Fault, match="has not taken it within"):
            two.live.set_weights(0, mirror=100, timeout_s=0.2)
        with pytest.raises(Fault, match="does not answer"):
            two.live.admin(0.2).splits()
    finally:
        os.kill(two.two.pid, signal.SIGCONT)
    wait_for(lambda: {each.mirror for each in two.live.admin().splits()} == {100}, "the mirror in both")


def test_where_they_differ_the_one_that_is_behind_is_told(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    high = two.live.set_weights(5000)
    low = two.live.set_weights(0)
    for seen in ((high, low), (low, high)):
        monkeypatch.setattr("serving.gateway.envoys.Envoys.splits", lambda _, seen=seen: seen)
        assert two.live.weights() == high


def test_counters_are_added_up_and_the_fewest_rankers_count(two: Two) -> None:
    two.ask(20)
    completed = "cluster.baseline.upstream_rq_completed"
    wait_for(lambda: two.live.admin().stats(completed).get(completed) == 20, "twenty requests in both together")
    assert len(two.live.admin().statistics()) == 2
    assert two.live.hosts()["baseline"].known == 1


def test_addresses_of_envoys_that_a_gateway_has_no_more_are_forgotten(tmp_path: Path) -> None:
    arms = [{"host": "127.0.0.1", "http": 8081}], [{"host": "127.0.0.1", "http": 8082}]
    folder = GatewayFolder(tmp_path)
    for partners, kept in (([9002, 9003], [1, 2, 3]), ([9002], [1, 2]), ([], [1])):
        for number in (1, 2, 3):
            GatewayFolder(tmp_path, number).admin_address.write_text(f"127.0.0.1:{9000 + number}")
        folder.prepare(config_of(*arms, admin={"port": 9001, "partners": partners}))
        assert [member.number for member in folder.members()] == kept
