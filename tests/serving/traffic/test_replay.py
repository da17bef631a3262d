"""Real loops: traffic through Envoy to two rankers, and feedback to a real evidence service."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from model.data.dataset import Dataset
from serving.experiment.analysis import analyse
from serving.experiment.evidence import ExperimentEvidence
from serving.traffic.commands import app
from tests.serving.traffic.conftest import World, figures, world

REQUESTS = 1200


def relevance(dataset: Dataset) -> dict[tuple[str, str], float]:
    """What the held-out labels say of (user, item): a ranker that knows them is as good as can be."""
    users, items = dataset.users.ids[dataset.test.user], dataset.items.ids[dataset.test.item]
    labels = dataset.test.labels.sum(axis=1).tolist()
    found: dict[tuple[str, str], float] = {}
    for user, item, label in zip(users.tolist(), items.tolist(), labels, strict=True):
        found[user, item] = max(found.get((user, item), 0), label)
    return found


@pytest.fixture
def loop(tmp_path: Path, dataset: Dataset, request: pytest.FixtureRequest) -> World:
    """The candidate knows the labels, the baseline orders against them."""
    known = relevance(dataset)
    made: World = request.getfixturevalue("exits").enter_context(
        world(tmp_path, dataset, lambda u, i: known.get((u, i), 0), lambda u, i: -known.get((u, i), 0))
    )
    return made


def replay(loop: World, log: Path, summary: Path, *options: str) -> None:
    sent = ["replay", str(log), *loop.options(), "--summary", str(summary), *options]
    result = CliRunner().invoke(app, sent, catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_a_better_ranking_earns_more_and_the_evidence_has_what_was_sent(
    loop: World, log: Path, dataset: Dataset, tmp_path: Path
) -> None:
    replay(loop, log, tmp_path / "a.json", "--requests", str(REQUESTS), "--rate", "400", "--duration", "0")
    told = figures(tmp_path / "a.json")
    assert told["requests"] == {"sent": REQUESTS, "shed": 0, "answered": REQUESTS, "errors": 0}
    assert told["outcomes"]["accepted"] == told["outcomes"]["put"] > 0
    loop.wait_exposures(REQUESTS)
    clicks = loop.sums("click_per_exposure")
    for arm in ("baseline", "candidate"):
        mine = told["arms"][arm]
        assert clicks[arm]["denominator"] == mine["answers"]["ok"]
        assert clicks[arm]["value"] == mine["earned"]["click"]
        assert clicks[arm]["units"] == mine["users"]
    evidence = loop.evidence()
    assert (evidence["crossovers"], evidence["forced"], evidence["waiting"]) == (0, 0, 0)
    effect = told["expected_effect"][0]
    assert effect["task"] == "click"
    assert effect["lift"] > 5 * effect["error"] > 0
    (analysed, *_) = analyse(ExperimentEvidence.from_json(evidence)).metrics
    assert analysed.estimate is not None
    assert analysed.estimate.lift_interval.lower > 0
    # Planted as equal, the same rankers earn the same: the feedback does not read their order.
    before = clicks
    replay(loop, log, tmp_path / "b.json", "--requests", str(REQUESTS), "--rate", "400", "--plant", "aa", "--seed", "1")
    equal = figures(tmp_path / "b.json")["expected_effect"][0]
    assert abs(equal["lift"]) < 4 * equal["error"]
    assert abs(equal["lift"]) < 0.1 * effect["lift"] + 4 * equal["error"]
    loop.wait_exposures(2 * REQUESTS)
    assert loop.sums("click_per_exposure")["candidate"]["value"] > before["candidate"]["value"]
    assert {name for body in loop.candidate.bodies for name in body} == {"id", "inputs", "outputs"}
    assert len(dataset.schema.task_names) == len(told["expected_effect"])
    assert np.isfinite(told["arms"]["baseline"]["latency_ms"]["p99"])
