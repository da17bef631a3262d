"""A real stack under users: any process may be killed; what was promised is kept."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from serving.stack.identity import marked
from serving.stack.ports import is_free
from tests.serving.ranker.bundles import MGOE, MMOE, World
from tests.serving.stack.stack_world import StackWorld

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Log, baseline, candidate."""
    world = World(tmp_path_factory.mktemp("world"))
    return world.folder / "log", world.bundle("mmoe", MMOE), world.bundle("mgoe", MGOE)


@pytest.fixture
def world(trained: tuple[Path, Path, Path], tmp_path: Path) -> Iterator[StackWorld]:
    made = StackWorld(tmp_path / "stack", *trained)
    yield made
    made.mgoe("down", "--state", made.folder, code=None)
    assert marked(made.folder) == {}


def test_whichever_process_is_killed_no_request_and_no_acknowledged_outcome_is_lost(
    world: StackWorld, record_property: Callable[[str, object], None]
) -> None:
    world.up("--rankers", 2, "--no-console")
    experiment = world.begin()
    with world.users(experiment) as counted:
        for name in ("ranker-candidate", "ranker-baseline-2", "evidence", "controller"):
            world.kill(name)
        before = world.status()
        os.kill(before["supervisor"]["pid"], signal.SIGKILL)
        time.sleep(1)
        left = world.status()
        assert not left["supervisor"]["runs"]
        assert {one["state"] for one in left["processes"].values()} == {"ready"}
        world.up("--rankers", 2, "--no-console")
        after = world.status()
        assert after["ready"]
        pids = [{name: one["pid"] for name, one in each["processes"].items()} for each in (before, after)]
        assert pids[0] == pids[1]
        world.kill("ranker-baseline")  # by the new supervisor, which is not its parent
    record_property("seconds until a killed process is ready again", world.slowest_s)
    assert counted["requests"]["errors"] == 0, counted
    assert counted["requests"]["shed"] == 0
    assert counted["outcomes"]["put"] == counted["outcomes"]["accepted"] > 0
    assert counted["outcomes"]["unacknowledged"] == 0
    drawn = sum(arm["earned"]["click"] for arm in counted["arms"].values())
    world.wait(
        lambda: (
            world.sums(experiment, "click_per_exposure")
            == {"value": drawn, "denominator": counted["requests"]["answered"]}
        ),
        f"{drawn} clicks of {counted['requests']['answered']} exposures in the evidence",
    )
    assert world.live.weights().candidate_weight == 5000


def test_a_killed_gateway_comes_back_with_its_weights(
    world: StackWorld, record_property: Callable[[str, object], None]
) -> None:
    world.up("--no-console")
    experiment = world.begin()
    split = world.live.weights()
    with world.users(experiment) as counted:
        world.kill("gateway")
        assert world.live.weights() == split
    record_property("seconds until a killed process is ready again", world.slowest_s)
    lost = {
        kind for arm in counted["arms"].values() for kind, count in arm["answers"].items() if count and kind != "ok"
    }
    assert lost <= {"connection", "503", "504"}, counted
    assert counted["outcomes"]["put"] == counted["outcomes"]["accepted"] > 0


def test_down_ends_all_within_seconds_and_up_goes_on_where_it_was(
    world: StackWorld, record_property: Callable[[str, object], None]
) -> None:
    world.up("--no-console")
    world.begin()
    before = world.status()
    began = time.monotonic()
    world.mgoe("down", "--state", world.folder)
    record_property("seconds of down", time.monotonic() - began)
    assert marked(world.folder) == {}
    ports = {name: one["port"] for name, one in before["processes"].items()}
    assert all(is_free(port) for port in ports.values())
    world.mgoe("up", "--state", world.folder)
    after = world.status()
    assert {name: one["port"] for name, one in after["processes"].items()} == ports
    assert world.live.weights().candidate_weight == 5000
    assert httpx.get(f"{world.address('gateway')}/gateway/ready", trust_env=False).status_code == 200


def test_other_bundles_in_the_same_folder_begin_without_traffic_on_the_candidate(world: StackWorld) -> None:
    world.up("--no-console")
    world.begin()
    world.mgoe("down", "--state", world.folder)
    swapped = ("--baseline", world.candidate, "--candidate", world.baseline)
    world.mgoe("up", "--state", world.folder, *swapped, "--no-console")
    for _ in range(20):  # looks of the controller: the rollout of the others is not taken up
        assert world.live.weights().candidate_weight == 0
        time.sleep(0.5)
