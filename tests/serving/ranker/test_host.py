"""The host: swaps under load, failures that change nothing, metrics, and memory that workers share."""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serving.ranker.host import RankerHost
from serving.ranker.metrics import RankerMetrics
from serving.ranker.ranker import Ranker
from serving.ranker.refusal import DeadlinePassed, Draining, NotReady, RequestError
from serving.ranker.request import RankAnswer, RankRequest
from serving.ranker.settings import BatchSettings, RankerSettings
from tests.serving.ranker.bundles import MMOE, World
from tests.serving.ranker.shared_memory import proportional_kib

ASKED = RankRequest("3", tuple(str(item) for item in range(1, 41)), time=0.0)


@pytest.fixture
def settings(cache: Path) -> RankerSettings:
    return RankerSettings(cache=cache, scorers=("factorised",), arm="blue", batch=BatchSettings(deadline_s=30))


@pytest.fixture
def host(settings: RankerSettings, bundles: dict[str, Path]) -> Iterator[RankerHost]:
    host = RankerHost(settings)
    host.swap(bundles["mmoe"])
    yield host
    host.drain(10)


@pytest.fixture(scope="session")
def other_mmoe(world: World) -> Path:
    return world.bundle("mmoe-other", MMOE, seed=5)


def metric(host: RankerHost, name: str, **labels: str) -> float:
    return host.metrics.registry.get_sample_value(name, labels) or 0.0


def test_a_host_without_a_bundle_takes_no_requests(settings: RankerSettings) -> None:
    host = RankerHost(settings)
    assert not host.ready
    with pytest.raises(Draining, match="no bundle is loaded yet"):
        host.submit(ASKED)


def test_swapping_under_load_drops_no_request_and_every_answer_is_whole(
    host: RankerHost, bundles: dict[str, Path], other_mmoe: Path, settings: RankerSettings
) -> None:
    expected = {
        ranker.digest: ranker.rank(ASKED).probabilities
        for ranker in (Ranker.load(folder, settings) for folder in (bundles["mmoe"], bundles["mgoe"], other_mmoe))
    }
    answers: list[RankAnswer] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answers.append(host.submit(ASKED).result(30))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    digests = [host.swap(folder) for folder in (bundles["mgoe"], other_mmoe, bundles["mmoe"])]
    stop.set()
    for thread in threads:
        thread.join(30)
    assert {answer.digest for answer in answers} >= set(digests[:2])
    for answer in answers:
        np.testing.assert_allclose(answer.probabilities, expected[answer.digest], atol=1e-5, rtol=0)
    counted = sum(metric(host, "mgoe_rank_requests_total", arm="blue", digest=d[:12]) for d in expected)
    assert counted == len(answers)


def test_a_failed_swap_keeps_the_old_bundle_and_says_why(
    host: RankerHost, bundles: dict[str, Path], tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(bundles["mgoe"], tmp_path / "broken"))
    (broken / "weights.safetensors").unlink()
    before = host.ranker.digest
    with pytest.raises(NotReady, match=r"weights\.safetensors"):
        host.swap(broken)
    assert host.ready
    assert host.submit(ASKED).result(30).digest == before
    assert metric(host, "mgoe_rank_swaps_total", outcome="refused") == 1
    assert metric(host, "mgoe_rank_swaps_total", outcome="done") == 1


def test_a_host_whose_first_bundle_fails_says_why_it_is_not_ready(settings: RankerSettings, tmp_path: Path) -> None:
    host = RankerHost(settings)
    with pytest.raises(NotReady):
        host.swap(tmp_path / "absent")
    assert not host.ready
    assert "no such folder" in (host.why_not_ready or "")


def test_an_event_loop_gets_answers_and_goes_on_meanwhile(host: RankerHost) -> None:
    async def many() -> list[RankAnswer]:
        return await asyncio.gather(*(host.rank(ASKED) for _ in range(50)))

    answers = asyncio.run(many())
    assert len({answer.exposure_id for answer in answers}) == 50
    assert metric(host, "mgoe_rank_batch_requests_count", arm="blue", digest=host.ranker.digest[:12]) < 50


def test_an_event_loop_is_not_kept_beyond_the_deadline(host: RankerHost) -> None:
    with pytest.raises(DeadlinePassed):
        asyncio.run(host.rank(ASKED, deadline_s=1e-6))


def test_a_caller_that_goes_away_is_no_deadline_that_passed(host: RankerHost) -> None:
    async def leave() -> None:
        asked = asyncio.ensure_future(host.rank(ASKED, deadline_s=30))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    asyncio.run(leave())
    assert metric(host, "mgoe_rank_refusals_total", arm="blue", reason="cancelled") == 1
    assert metric(host, "mgoe_rank_refusals_total", arm="blue", reason="deadline") == 0


def test_a_request_that_the_new_bundle_cannot_answer_spoils_no_other(host: RankerHost) -> None:
    bad = host.submit(RankRequest("3", ("1",), utility={"purchase": 1.0}))
    good = host.submit(ASKED)
    with pytest.raises(RequestError, match="purchase"):
        bad.result(30)
    assert good.result(30).digest == host.ranker.digest
    assert metric(host, "mgoe_rank_refusals_total", arm="blue", reason="utility") == 1


def test_metrics_tell_latency_candidates_and_cold_ids_by_arm_and_digest(host: RankerHost) -> None:
    host.submit(RankRequest("never-seen", ("1", "2", "never-seen"))).result(30)
    side = {"arm": "blue", "digest": host.ranker.digest[:12]}
    assert metric(host, "mgoe_rank_seconds_count", **side) == 1
    assert metric(host, "mgoe_rank_candidates_sum", **side) == 3
    assert metric(host, "mgoe_rank_item_cache_hits_total", **side) == 2
    assert metric(host, "mgoe_rank_item_cache_misses_total", **side) == 1
    assert metric(host, "mgoe_rank_cold_users_total", **side) == 1
    assert metric(host, "mgoe_rank_bundle", **side) == 1


def test_two_hosts_keep_their_metrics_apart(settings: RankerSettings) -> None:
    first, second = RankerMetrics(), RankerMetrics()
    assert RankerHost(settings, first).metrics.registry is not RankerHost(settings, second).metrics.registry


def test_a_drained_host_answers_what_waits_and_takes_nothing_new(host: RankerHost) -> None:
    futures = [host.submit(ASKED) for _ in range(20)]
    assert host.drain(30)
    assert all(future.result(0) for future in futures)
    with pytest.raises(Draining, match="shutting down"):
        host.submit(ASKED)
    assert not host.ready


@pytest.mark.slow
def test_workers_share_the_tables_that_they_map(bundles: dict[str, Path], settings: RankerSettings) -> None:
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue()
    measure, leave = spawn.Event(), spawn.Event()
    arguments = (str(bundles["mgoe"]), settings.model_dump_json(), queue, measure, leave)
    workers = [spawn.Process(target=proportional_kib, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        loaded = [queue.get(timeout=120) for _ in workers]
        assert loaded == ["loaded", "loaded"]
        measure.set()
        found = [queue.get(timeout=60) for _ in workers]
    finally:
        measure.set()
        leave.set()
        for worker in workers:
            worker.join(60)
    for resident, proportional in found:
        assert resident > 0
        assert proportional <= 0.6 * resident, "two workers that share their pages count half of each"
