"""Weights that change while requests run, and what happens when they cannot: with a real Envoy."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from model.errors import Fault, UserError
from serving.gateway import assignment
from serving.gateway.config import GatewayConfig
from serving.gateway.envoy import Envoy
from serving.gateway.folder import ROUTES_FILE, GatewayFolder
from serving.gateway.live import LiveSplit, SupersededError
from serving.gateway.routes import Json, routes
from serving.gateway.split import Split
from tests.serving.gateway.client import Load
from tests.serving.gateway.gateways import PATIENT, SALT, Gateway, config_of, endpoint, gateway, wait_for
from tests.serving.gateway.upstream import Upstream, running

UNITS = [f"user-{place}" for place in range(300)]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Gateway, Upstream, Upstream]]:
    with running(Upstream("baseline"), Upstream("candidate")) as (baseline, candidate):
        config = config_of([endpoint(baseline)], [endpoint(candidate)], **PATIENT)
        with gateway(tmp_path / "gateway", config) as started:
            yield started, baseline, candidate


def test_fifty_changes_under_load_drop_nothing_and_move_units_by_weight_alone(
    pair: tuple[Gateway, Upstream, Upstream],
) -> None:
    started = pair[0]
    weights = [*range(0, 10_000, 400), *range(10_000, 0, -400)]
    assert len(weights) == 50
    with Load(started.envoy.port, 3, lambda place: UNITS[place % len(UNITS)]).running() as load:
        for weight in weights:
            so_far = len(load.answers)
            started.live.set_weights(weight)
            wait_for(lambda: len(load.answers) > so_far + 10 or bool(load.failures), "answers")  # noqa: B023
    assert load.failures == []
    records = started.records(len(load.answers))
    assert len(records) == len(load.answers)
    assert {record.excluded for record in records} == {None}
    assert len({record.phase for record in records}) > 40
    for record in records:
        # The line carries the phase and weight under which this very request was routed.
        assert record.unit is not None
        bucket = assignment.bucket(SALT, record.unit)
        assert record.arm == assignment.arm(bucket, round(record.propensity * assignment.BUCKETS))
    by_phase = defaultdict(set)
    for record in records:
        by_phase[record.phase].add(record.propensity)
    assert all(len(propensities) == 1 for propensities in by_phase.values())


def test_nobody_flips_at_a_constant_weight_or_moves_back_while_it_rises(
    pair: tuple[Gateway, Upstream, Upstream],
) -> None:
    started = pair[0]
    client = started.client()
    on_candidate: set[str] = set()
    for percent in (0, 1, 5, 20, 50, 100):
        started.set(percent)
        looks = [{unit for unit in UNITS if client.rank(unit).arm == "candidate"} for _ in range(2)]
        assert looks[0] == looks[1]
        assert on_candidate <= looks[0]
        on_candidate = looks[0]
    assert on_candidate == set(UNITS)
    started.set(5)
    assert {unit for unit in UNITS if client.rank(unit).arm == "candidate"} == {
        unit for unit in UNITS if assignment.bucket(SALT, unit) < 500
    }


def test_the_same_weight_again_is_no_new_phase(pair: tuple[Gateway, Upstream, Upstream]) -> None:
    router = pair[0].live
    first = router.set_weights(500)
    written = pair[0].folder.read(ROUTES_FILE)
    assert router.set_weights(500) == first == router.weights()
    assert pair[0].folder.read(ROUTES_FILE) == written
    assert router.set_weights(501).phase == first.phase + 1


def test_a_caller_that_saw_another_phase_is_refused_and_nothing_changes(
    pair: tuple[Gateway, Upstream, Upstream],
) -> None:
    router = pair[0].live
    split = router.set_weights(500)
    with pytest.raises(UserError, match=f"phase {split.phase - 1} was expected, but the gateway is in phase"):
        router.set_weights(0, expected_phase=split.phase - 1)
    assert router.weights() == split
    assert router.set_weights(0, expected_phase=split.phase).candidate_weight == 0


@pytest.mark.parametrize("weight", [-1, 10_001])
def test_a_weight_outside_its_range_is_refused_before_anything_is_written(
    pair: tuple[Gateway, Upstream, Upstream], weight: int
) -> None:
    written = pair[0].folder.read(ROUTES_FILE)
    with pytest.raises(UserError, match="write 0 to 10000"):
        pair[0].live.set_weights(weight)
    assert pair[0].folder.read(ROUTES_FILE) == written


def test_routes_that_envoy_refuses_are_taken_back_and_its_reason_is_told(
    pair: tuple[Gateway, Upstream, Upstream], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = pair[0]
    before = started.live.set_weights(500)

    def broken(config: GatewayConfig, split: Split) -> Json:
        whole = routes(config, split)
        whole["resources"][0]["virtual_hosts"][0]["routes"][0]["match"] = {"safe_regex": {"regex": "("}}
        return whole

    monkeypatch.setattr("serving.gateway.live.routes", broken)
    with pytest.raises(Fault, match=r"Envoy refused phase 3: missing \): \(; phase 2 stays"):
        started.live.set_weights(9000)
    monkeypatch.undo()
    assert started.live.weights() == before == started.folder.split()
    assert started.live.set_weights(600).phase == before.phase + 1


def test_writers_at_the_same_time_get_phases_of_their_own_or_give_way(pair: tuple[Gateway, Upstream, Upstream]) -> None:
    router = pair[0].live
    done: list[Split] = []
    gave_way: list[SupersededError] = []

    def write(weight: int) -> None:
        try:
            done.append(router.set_weights(weight))
        except SupersededError as error:
            gave_way.append(error)

    writers = [threading.Thread(target=write, args=(weight,)) for weight in (100, 200, 300, 400)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(done) + len(gave_way) == 4
    assert len({split.phase for split in done}) == len(done) >= 1
    assert router.weights() == max(done, key=lambda split: split.phase)


@contextlib.contextmanager
def hanging_admin(started: Gateway) -> Iterator[threading.Event]:
    """An admin page that takes connections and never answers; the event: somebody has asked."""
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as page:
        kept: list[socket.socket] = []

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    kept.append(page.accept()[0])
                    asked.set()

        threading.Thread(target=take, daemon=True).start()
        true = started.folder.admin_address.read_text()
        started.folder.admin_address.write_text(f"127.0.0.1:{page.getsockname()[1]}")
        yield asked
        started.folder.admin_address.write_text(true)
        page.shutdown(socket.SHUT_RDWR)
        for connection in kept:
            connection.close()


def test_an_abort_does_not_wait_behind_a_raise_although_the_admin_page_hangs(
    pair: tuple[Gateway, Upstream, Upstream],
) -> None:
    started = pair[0]
    router = started.live
    before = router.set_weights(500)
    outcomes: list[str] = []

    def write(weight: int) -> None:
        try:
            router.set_weights(weight, timeout_s=0.1)
        except Fault as error:
            outcomes.append(f"{weight}: {type(error).__name__}")

    with hanging_admin(started) as asked:
        rise = threading.Thread(target=write, args=(2000,))
        rise.start()
        assert asked.wait(10)
        fall = threading.Thread(target=write, args=(0,))
        fall.start()
        # Long before the 5 s after which the raise stops asking.
        wait_for(lambda: started.folder.split().candidate_weight == 0, "weight 0 in the file", 3)
        rise.join()
        fall.join()
    assert started.folder.split() == replace(before, phase=before.phase + 1, candidate_weight=0)
    assert outcomes == ["2000: SupersededError", "0: Fault"]
    wait_for(lambda: router.weights().candidate_weight == 0, "weight 0 in Envoy")


def test_a_given_phase_is_written_and_a_lower_one_refused(pair: tuple[Gateway, Upstream, Upstream]) -> None:
    started = pair[0]
    router, config = started.live, started.envoy.config
    router.apply(config, Split("exp-1", SALT, phase=7, candidate_weight=500))
    assert router.weights() == Split("exp-1", SALT, phase=7, candidate_weight=500)
    router.apply(config, Split("exp-1", SALT, phase=7, candidate_weight=500))
    for phase, weight in ((6, 0), (7, 600)):
        with pytest.raises(SupersededError, match=f"phase {phase} with weight {weight} is not written"):
            router.apply(config, Split("exp-1", SALT, phase=phase, candidate_weight=weight))
    router.apply(config, Split("exp-1", SALT, phase=9))
    assert router.weights() == Split("exp-1", SALT, phase=9)


def test_weight_0_is_written_before_other_rankers_are_waited_for(
    pair: tuple[Gateway, Upstream, Upstream],
) -> None:
    started, baseline, candidate = pair
    started.live.set_weights(500)
    moved = config_of([endpoint(candidate)], [endpoint(baseline)], **PATIENT)
    wanted = Split("exp-1", SALT, phase=3)

    def fall_to_0() -> None:
        with pytest.raises(Fault):
            started.live.apply(moved, wanted, timeout_s=0.1)

    with hanging_admin(started) as asked:
        fall = threading.Thread(target=fall_to_0)
        fall.start()
        assert asked.wait(10)
        assert started.folder.split() == wanted
        fall.join()
    started.live.apply(moved, wanted)
    assert started.folder.config() == moved


def test_without_envoy_a_weight_is_kept_for_its_start_and_the_caller_is_told(
    pair: tuple[Gateway, Upstream, Upstream],
) -> None:
    started = pair[0]
    started.envoy.kill()
    with pytest.raises(Fault, match=r"phase 2 is written, but Envoy has not taken it within 0.1 s: .*does not answer"):
        started.live.set_weights(700, timeout_s=0.1)
    with Envoy(started.folder, started.envoy.config, settle_s=0) as again:
        assert LiveSplit(again.folder).weights() == Split("exp-1", SALT, phase=2, candidate_weight=700)


def test_a_new_experiment_begins_at_weight_0_with_a_phase_of_its_own(
    pair: tuple[Gateway, Upstream, Upstream],
) -> None:
    started = pair[0]
    started.live.set_weights(5000)
    started.envoy.stop()
    next_one = started.envoy.config.model_copy(
        update={"experiment": started.envoy.config.experiment.model_copy(update={"id": "exp-2", "salt": "salt-2"})}
    )
    with Envoy(started.folder, next_one, settle_s=0) as again:
        assert LiveSplit(again.folder).weights() == Split("exp-2", "salt-2", phase=3)


def test_rankers_are_replaced_under_load_and_the_split_goes_on(pair: tuple[Gateway, Upstream, Upstream]) -> None:
    started, baseline, candidate = pair
    split = started.set(50)
    with running(Upstream("candidate")) as (fresh,):
        load = Load(started.envoy.port, 3, lambda place: UNITS[place % len(UNITS)])
        with load.running():
            wait_for(lambda: len(load.answers) > 50, "answers")
            assert started.live.reconfigure(config_of([endpoint(baseline)], [endpoint(fresh)], **PATIENT)) == split
            candidate.stop()
            wait_for(lambda: len(fresh.seen) > 50, "requests to the new ranker")
        assert load.failures == []


def test_what_needs_a_restart_is_told_and_nothing_is_written(pair: tuple[Gateway, Upstream, Upstream]) -> None:
    started, baseline, candidate = pair
    other = config_of([endpoint(baseline)], [endpoint(candidate)], timeouts={"headers": 9})
    with pytest.raises(UserError, match="need a restart"):
        started.live.reconfigure(other)
    assert started.folder.config() == started.envoy.config


def test_copies_go_to_the_candidate_marked_and_only_of_what_the_baseline_answers(
    pair: tuple[Gateway, Upstream, Upstream],
) -> None:
    started, baseline, candidate = pair
    started.set(50, mirror=100)
    client = started.client()
    answers = {unit: client.rank(unit) for unit in UNITS[:60]}
    of_baseline = [unit for unit, answer in answers.items() if answer.arm == "baseline"]
    wait_for(lambda: len(candidate.seen) == 60, "the copies")
    copies = [seen for seen in candidate.seen if "x-mgoe-shadow" in seen]
    assert sorted(seen["x-mgoe-unit"] for seen in copies) == sorted(of_baseline)
    assert not any("x-mgoe-shadow" in seen for seen in baseline.seen)
    assert all(seen["x-mgoe-mirror"] == "candidate" for seen in baseline.seen)
    assert not any("x-mgoe-mirror" in seen for seen in candidate.seen)
    # One line a request of a user: copies leave none, so their answers cannot become evidence.
    records = started.records(60)
    assert len(records) == 60
    assert {record.unit: record.arm for record in records} == {unit: answer.arm for unit, answer in answers.items()}
    started.set(50, mirror=0)
    seen = len(candidate.seen)
    for unit in of_baseline:
        client.rank(unit)
    assert len(candidate.seen) == seen


def test_a_dead_shadow_costs_users_nothing(pair: tuple[Gateway, Upstream, Upstream]) -> None:
    started, _, candidate = pair
    started.set(0, mirror=100)
    candidate.kill()
    assert {started.client().rank(unit).status for unit in UNITS[:50]} == {200}


def test_a_part_of_the_requests_can_be_copied(pair: tuple[Gateway, Upstream, Upstream]) -> None:
    started, _, candidate = pair
    started.set(0, mirror=20)
    client = started.client()
    for unit in UNITS:
        client.rank(unit)
    # 300 draws at 20 %: outside 20..120 about once in 10^10.
    assert 20 < len(candidate.seen) < 120


def test_a_request_that_is_itself_a_copy_is_logged_as_one(pair: tuple[Gateway, Upstream, Upstream]) -> None:
    started = pair[0]
    started.client().rank("u1", {"x-mgoe-shadow": "1"})
    [record] = started.records(1)
    assert (record.shadow, record.excluded) == (True, "shadow")


def test_a_folder_without_a_gateway_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no gateway's folder|cannot be read"):
        LiveSplit(GatewayFolder(tmp_path)).set_weights(1)
    with pytest.raises(Fault, match="no Envoy runs for"):
        LiveSplit(GatewayFolder(tmp_path)).weights()
