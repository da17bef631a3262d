"""The commands, before a stand-in gateway of one arm."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model.errors import Fault, MgoeError, UserError
from serving.experiment.design import Design
from serving.traffic.commands import app
from tests.serving.evidence.evidence_process import ROOT
from tests.serving.gateway.gateways import wait_for
from tests.serving.gateway.upstream import running
from tests.serving.traffic.conftest import figures
from tests.serving.traffic.intake import Intake, refused, status
from tests.serving.traffic.small_ranker import SmallRanker

QUICK = ["--quiet", "--rate", "500", "--duration", "0"]


@pytest.fixture(scope="module")
def ranker() -> Iterator[SmallRanker]:
    with running(SmallRanker("candidate")) as (started,):
        assert isinstance(started, SmallRanker)
        yield started


def replay(log: Path, ranker: SmallRanker, *options: str) -> str:
    address = f"http://127.0.0.1:{ranker.port}"
    result = CliRunner().invoke(app, ["replay", str(log), "--gateway", address, *options])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_a_replay_tells_what_was_answered_and_that_feedback_is_simulated(
    log: Path, ranker: SmallRanker, protocol: str
) -> None:
    told = replay(log, ranker, *QUICK, "--requests", "40", "--protocol", protocol)
    assert "40 requests" in told
    assert "Feedback is simulated" in told
    figured = json.loads(replay(log, ranker, *QUICK, "--requests", "40", "--protocol", protocol, "--summary", "-"))
    assert figured["requests"] == {"sent": 40, "shed": 0, "answered": 40, "errors": 0}
    assert figured["feedback"].startswith("Feedback is simulated")


def test_the_same_seed_sends_the_same_requests_and_earns_the_same(log: Path, ranker: SmallRanker) -> None:
    told, sent = [], []
    for _ in range(2):
        ranker.bodies.clear()
        told.append(json.loads(replay(log, ranker, *QUICK, "--requests", "60", "--seed", "9", "--summary", "-")))
        sent.append(sorted(json.dumps(body["inputs"]) for body in ranker.bodies))
    assert sent[0] == sent[1]
    assert told[0]["arms"]["candidate"]["earned"] == told[1]["arms"]["candidate"]["earned"]
    assert sum(told[0]["arms"]["candidate"]["earned"].values()) > 0


def test_the_logs_own_arrivals_bring_each_session_once(log: Path, ranker: SmallRanker) -> None:
    ranker.bodies.clear()
    options = ["--arrivals", "log", "--speed", "1e6", "--extras", "0", "--duration", "0", "--quiet", "--summary", "-"]
    told = json.loads(replay(log, ranker, *options))
    assert told["requests"]["answered"] == len(ranker.bodies) > 50
    times = [body["inputs"][2]["data"][0] for body in ranker.bodies]
    assert len(set(times)) > 40


def test_an_open_loop_does_not_wait_for_answers(log: Path) -> None:
    with running(SmallRanker("candidate", delay_s=0.5)) as (slow,):
        assert isinstance(slow, SmallRanker)
        told = json.loads(replay(log, slow, "--quiet", "--rate", "100", "--requests", "50", "--summary", "-"))
    assert told["elapsed_s"] < 3  # one after the other they would take 25 s
    assert told["arms"]["candidate"]["latency_ms"]["p50"] >= 500


def test_failures_are_counted_by_arm_and_kind(log: Path) -> None:
    with running(SmallRanker("candidate", status=500)) as (broken,):
        assert isinstance(broken, SmallRanker)
        with pytest.raises(Fault, match="none of 20 requests was answered well: 20 × 500"):
            replay(log, broken, *QUICK, "--requests", "20")
    with running(SmallRanker("candidate", delay_s=2)) as (slow,):
        assert isinstance(slow, SmallRanker)
        with pytest.raises(Fault, match="none of 5 requests was answered well: 5 × timeout"):
            replay(log, slow, *QUICK, "--requests", "5", "--timeout", "0.1")


def test_a_refused_outcome_is_an_error_that_says_why(log: Path, ranker: SmallRanker) -> None:
    with Intake([refused]) as intake, pytest.raises(Fault, match="were refused; the first: experiment 'x'"):
        replay(log, ranker, *QUICK, "--requests", "20", "--evidence", intake.url, "--experiment", "x")


def test_an_evidence_service_that_knows_no_such_token_ends_the_replay_at_once(log: Path, ranker: SmallRanker) -> None:
    with Intake([status(401)]) as intake:
        begun = time.monotonic()
        options = ["--evidence", intake.url, "--experiment", "x", "--rate", "50", "--duration", "60"]
        with pytest.raises(Fault, match="answers 401"):
            replay(log, ranker, "--quiet", *options)
        assert time.monotonic() - begun < 30


def test_ctrl_c_ends_the_arrivals_and_all_that_was_answered_is_acknowledged(
    log: Path, ranker: SmallRanker, tmp_path: Path
) -> None:
    summary = tmp_path / "summary.json"
    with Intake([status(503), status(503), *Intake().answers]) as intake:
        options = ["--evidence", intake.url, "--experiment", "x", "--rate", "100", "--duration", "0", "--quiet"]
        address = f"http://127.0.0.1:{ranker.port}"
        command = [sys.executable, "-m", "mgoe", "traffic", "replay", str(log), "--gateway", address, *options]
        process = subprocess.Popen([*command, "--summary", str(summary)], cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            wait_for(lambda: len(intake.batches) > 2, "batches of outcomes", 60)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
        told = figures(summary)
        assert told["stopped"]
        assert told["outcomes"]["put"] == told["outcomes"]["accepted"] == len(set(intake.ids)) > 0
        assert told["outcomes"]["unacknowledged"] == 0
        assert told["requests"]["sent"] == told["requests"]["answered"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--rate", "0"], "--rate 0"),
        (["--rate", "nan"], "--rate nan"),
        (["--speed", "-1"], "--speed -1"),
        (["--arrivals", "bursts"], "--arrivals bursts"),
        (["--protocol", "v3"], "--protocol v3"),
        (["--evidence", "http://127.0.0.1:1"], "--experiment"),
        (["--experiment", "x"], "--evidence"),
        (["--gateway", "127.0.0.1:8000"], "http://HOST:PORT"),
        (["--gateway", "http://"], "http://HOST:PORT"),
        (["--gateway", "http://a b"], "http://HOST:PORT"),
        (["--plant", "more"], "--plant more"),
        (["--relevant", "2"], "relevant 2"),
        (["--evidence", "http://127.0.0.1:1", "--experiment", "x", "--token", "/no/such"], "--token /no/such"),
    ],
)
def test_a_wrong_option_is_named(log: Path, ranker: SmallRanker, options: list[str], named: str) -> None:
    with pytest.raises(UserError, match=named.replace("--", "")):
        replay(log, ranker, *options)


def test_a_gateway_that_is_not_there_and_a_log_that_is_none_are_named(log: Path, tmp_path: Path) -> None:
    gone = SmallRanker("candidate", port=9)
    with pytest.raises(Fault, match=r"gateway http://127\.0\.0\.1:9 does not answer"):
        replay(log, gone)
    with pytest.raises(MgoeError, match=str(tmp_path)):
        replay(tmp_path, gone)


def test_a_design_is_what_the_evidence_registers_and_metrics_are_what_a_rollout_takes(log: Path) -> None:
    options = ["--experiment", "exp", "--baseline-digest", "b", "--candidate-digest", "c"]
    made = CliRunner().invoke(app, ["design", str(log), *options])
    document = json.loads(made.stdout)
    assert Design.from_json(document["design"]).salt == "exp"
    assert document["bounds"]["click"] == {"lowest": 0, "highest": 1000}
    spec = CliRunner().invoke(app, ["design", str(log), "--as", "rollout"])
    assert spec.stdout.startswith("metrics:\n- name: click_per_exposure\n  kind: Ratio\n")
    with pytest.raises(UserError, match="baseline-digest is missing"):
        CliRunner().invoke(app, ["design", str(log)], catch_exceptions=False)
