"""Real loops: traffic through Envoy to two rankers, and feedback to a real evidence service."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from model.data.dataset import Dataset
from serving.experiment.analysis import analyse
from serving.experiment.evidence import ExperimentEvidence
from serving.traffic.commands import app
from tests.serving.evidence.evidence_process import ROOT
from tests.serving.gateway.gateways import config_of, endpoint, gateway
from tests.serving.gateway.upstream import running
from tests.serving.traffic.conftest import World, figures, world
from tests.serving.traffic.small_ranker import SmallRanker

REQUESTS = 1000
ARMS = ("baseline", "candidate")


def relevance(dataset: Dataset) -> dict[tuple[str, str], float]:
    """What the held-out labels say of (user, item): a ranker that knows them is as good as can be."""
    users, items = dataset.users.ids[dataset.test.user], dataset.items.ids[dataset.test.item]
    labels = dataset.test.labels.sum(axis=1).tolist()
    found: dict[tuple[str, str], float] = {}
    for user, item, label in zip(users.tolist(), items.tolist(), labels, strict=True):
        found[user, item] = max(found.get((user, item), 0), label)
    return found


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> Iterator[World]:
    """The candidate knows the labels, the baseline orders against them."""
    known = relevance(dataset)
    folder = tmp_path_factory.mktemp("loop")
    with world(folder, dataset, lambda u, i: known.get((u, i), 0), lambda u, i: -known.get((u, i), 0)) as made:
        yield made


class Seen:
    """One replay: what it told, and by how much the evidence of clicks grew."""

    def __init__(self, loop: World, log: Path, summary: Path, *options: str) -> None:
        before = loop.sums("click_per_exposure")
        exposures = sum(arm["denominator"] for arm in before.values())
        asked = ["--requests", str(REQUESTS), "--rate", "150", "--duration", "0", "--timeout", "30", *options]
        sent = ["replay", str(log), *loop.options(), "--summary", str(summary), *asked]
        result = CliRunner().invoke(app, sent, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        self.told: dict[str, Any] = figures(summary)
        assert self.told["requests"] == {"sent": REQUESTS, "shed": 0, "answered": REQUESTS, "errors": 0}, self.told[
            "arms"
        ]
        loop.wait_exposures(int(exposures) + REQUESTS)
        after = loop.sums("click_per_exposure")
        self.users = {arm: after[arm]["units"] for arm in ARMS}
        self.clicks = {arm: after[arm]["value"] - before.get(arm, {"value": 0})["value"] for arm in ARMS}
        self.exposures = {
            arm: after[arm]["denominator"] - before.get(arm, {"denominator": 0})["denominator"] for arm in ARMS
        }

    @property
    def effect(self) -> dict[str, float]:
        """Of clicks, by the click model's expectation."""
        found: dict[str, float] = self.told["expected_effect"][0]
        return found

    @property
    def lift(self) -> float:
        """Of clicks an exposure, in the evidence."""
        rate = {arm: self.clicks[arm] / self.exposures[arm] for arm in ARMS}
        return rate["candidate"] / rate["baseline"] - 1


def test_a_better_ranking_earns_more_and_the_evidence_has_just_what_was_sent(
    loop: World, log: Path, tmp_path: Path
) -> None:
    seen = Seen(loop, log, tmp_path / "told.json")
    outcomes = seen.told["outcomes"]
    assert outcomes["accepted"] == outcomes["put"] > 0
    for arm in ARMS:
        told = seen.told["arms"][arm]
        assert (seen.exposures[arm], seen.clicks[arm]) == (told["answers"]["ok"], told["earned"]["click"])
        assert seen.users[arm] == told["users"]
    evidence = loop.evidence()
    assert (evidence["crossovers"], evidence["forced"], evidence["waiting"]) == (0, 0, 0)
    assert seen.effect["lift"] > 5 * seen.effect["error"] > 0
    (analysed, *_) = analyse(ExperimentEvidence.from_json(evidence)).metrics
    assert analysed.estimate is not None
    assert analysed.estimate.lift_interval.lower > 0


def test_planted_as_equal_the_same_rankers_earn_the_same(loop: World, log: Path, tmp_path: Path) -> None:
    seen = Seen(loop, log, tmp_path / "told.json", "--plant", "aa", "--seed", "1")
    assert abs(seen.effect["lift"]) < 4 * seen.effect["error"]
    assert abs(seen.lift) < 5 * math.sqrt(sum(1 / count for count in seen.clicks.values()))  # clicks come in clusters


def test_a_planted_harm_is_in_the_evidence(loop: World, log: Path, tmp_path: Path) -> None:
    seen = Seen(loop, log, tmp_path / "told.json", "--plant", "aa", "--plant", "candidate:-60%", "--seed", "2")
    assert seen.effect["lift"] == pytest.approx(-0.6, abs=4 * seen.effect["error"])
    assert seen.lift < -0.4


def test_a_fault_proxy_before_one_arm_is_felt_by_its_users_alone(log: Path, tmp_path: Path) -> None:
    with running(SmallRanker("baseline"), SmallRanker("candidate")) as (baseline, candidate):
        faults = ["--error-share", "0.3", "--latency-ms", "150"]
        command = [
            sys.executable,
            "-m",
            "mgoe",
            "traffic",
            "fault-proxy",
            f"http://127.0.0.1:{candidate.port}",
            *faults,
        ]
        proxy = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        try:
            assert proxy.stderr is not None
            listens = re.search(r"http://127\.0\.0\.1:(\d+) before", proxy.stderr.readline())
            assert listens is not None
            config = config_of([endpoint(baseline)], [endpoint(candidate) | {"http": int(listens[1])}])
            with gateway(tmp_path / "gateway", config) as started:
                started.set(50)
                options = ["--rate", "100", "--requests", "200", "--duration", "0", "--quiet"]
                address = f"http://127.0.0.1:{started.envoy.port}"
                summary = tmp_path / "told.json"
                sent = ["replay", str(log), "--gateway", address, "--summary", str(summary), *options]
                assert CliRunner().invoke(app, sent, catch_exceptions=False).exit_code == 0
        finally:
            proxy.terminate()
            assert proxy.wait(20) == 0
    arms = figures(summary)["arms"]
    assert arms["baseline"]["answers"].keys() == {"ok"}
    assert arms["candidate"]["answers"].keys() == {"ok", "500"}
    share = arms["candidate"]["answers"]["500"] / sum(arms["candidate"]["answers"].values())
    assert share == pytest.approx(0.3, abs=0.15)
    assert arms["candidate"]["latency_ms"]["p50"] >= 150 > arms["baseline"]["latency_ms"]["p50"]
