"""`mgoe rollout`: what a person sees and what is written for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from model.errors import UserError
from serving.rollout.commands import app
from serving.rollout.controller_lock import controller_runs, only_one
from serving.rollout.sqlite_store import SqliteStore
from serving.rollout.state import State
from serving.rollout.status import ModelRolloutStatus
from serving.rollout.status_text import UNATTENDED, age_words
from tests.serving.rollout.rollout_cluster import Cluster, healthy, settle
from tests.serving.rollout.rollout_world import SPEC, World

Call = Callable[..., str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path, SPEC)


def written(folder: Path, spec: dict[str, object]) -> Path:
    path = folder / "rollout.yaml"
    resource = {"apiVersion": "mgoe.dev/v1alpha1", "kind": "ModelRollout", "metadata": {"name": "feed"}, "spec": spec}
    path.write_text(yaml.safe_dump(resource))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "rollouts.db"


@pytest.fixture
def call(store: Path) -> Call:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, [*arguments, "--store", str(store)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    return run


def ramping(store: Path) -> None:
    """The rollout at its first step, with a real status."""
    cluster = Cluster(World())

    async def run() -> None:
        operator, _ = await settle(cluster, cluster.operator())
        healthy(cluster)
        await settle(cluster, operator)
        database = SqliteStore(store)
        await database.write_status(database.read("feed"), cluster.world.state)

    asyncio.run(run())


def test_a_file_is_created_and_then_applied(call: Call, file: Path, store: Path) -> None:
    assert "feed: created" in call("create", str(file))
    assert "feed: applied, generation 1" in call("create", str(file))
    assert "generation 2" in call("create", str(written(file.parent, {**SPEC, "maxWeight": 50})))
    assert SqliteStore(store).read("feed").spec["maxWeight"] == 50


def test_applying_a_file_again_does_not_undo_what_a_person_wished(call: Call, file: Path, store: Path) -> None:
    call("create", str(file))
    call("pause", "feed")
    call("create", str(file))
    assert SqliteStore(store).read("feed").spec["paused"] is True
    call("create", str(written(file.parent, {**SPEC, "paused": False})))
    assert SqliteStore(store).read("feed").spec["paused"] is False


def test_a_dry_run_writes_nothing(call: Call, file: Path, store: Path) -> None:
    assert "is valid; nothing was written" in call("create", str(file), "--dry-run")
    assert not store.exists()
    call("create", str(file))
    assert "spec.abort: false -> true (dry run)" in call("abort", "feed", "--dry-run")
    assert SqliteStore(store).read("feed").spec["abort"] is False


def test_wishes_name_the_run_that_they_mean(call: Call, file: Path, store: Path) -> None:
    call("create", str(file))
    ramping(store)
    run = State.model_validate(SqliteStore(store).read("feed").status).run
    assert run is not None
    call("promote", "feed")
    call("set-weight", "feed", "7")
    spec = SqliteStore(store).read("feed").spec
    assert spec["promote"] == run.id
    assert spec["weightOverride"] == {"weight": 7, "run": run.id}
    call("set-weight", "feed")
    assert "weightOverride" not in SqliteStore(store).read("feed").spec


def test_status_shows_weights_verdict_and_what_holds_the_ramp(call: Call, file: Path, store: Path) -> None:
    call("create", str(file))
    ramping(store)
    shown = call("status", "feed")
    for words in ("Ramping (StepUp)", "20 % wanted, 20 % at the router", "Inconclusive", "held by", "+0.10%", "Holds"):
        assert words in shown
    assert "Ramping" in call("status")
    assert '"phase": "Ramping"' in call("status", "feed", "--json")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("status", "fed"), "no rollout 'fed'"),
        (("promote", "feed"), "the rollout has no run yet"),
        (("ack", "feed"), "no sample ratio alarm is open"),
        (("create", "/nowhere.yaml"), "No such file"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_in_one_line(
    call: Call, file: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    call("create", str(file))
    with pytest.raises(UserError, match=sentence) as refused:
        call(*arguments)
    assert "\n" not in str(refused.value)


def test_a_weight_beyond_100_is_refused(call: Call, file: Path, store: Path) -> None:
    call("create", str(file))
    ramping(store)
    with pytest.raises(UserError, match=r"spec\.weightOverride\.weight: Input should be less than or equal to 100"):
        call("set-weight", "feed", "120")


def test_a_database_that_is_not_there_is_named(call: Call, store: Path) -> None:
    with pytest.raises(UserError, match="no rollouts here"):
        call("status")
    assert not store.exists()


def test_a_key_that_is_there_twice_is_refused_with_its_line(call: Call, file: Path, store: Path) -> None:
    file.write_text(file.read_text() + "metadata:\n  name: other\n")
    with pytest.raises(UserError, match=r"'metadata' is there twice.*line \d+"):
        call("create", str(file))
    assert not store.exists() or SqliteStore(store).names() == ()


def test_a_dry_run_refuses_the_name_that_a_creation_would(call: Call, file: Path) -> None:
    file.write_text(file.read_text().replace("name: feed", "name: Feed_1"))
    with pytest.raises(UserError, match="name 'Feed_1': write 1 to 52 lower case letters"):
        call("create", str(file), "--dry-run")


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_a_spec_that_does_not_fit_is_refused_with_its_file_the_field_and_the_value(
    call: Call, tmp_path: Path, words: tuple[str, ...]
) -> None:
    path = written(tmp_path, {**SPEC, "steps": [{"weight": 1}, {"weight": 2.5}]})
    with pytest.raises(UserError) as refused:
        call("create", str(path), *words)
    assert str(refused.value).startswith(f"{path}: spec.steps.1.weight: ")
    assert str(refused.value).endswith("(got 2.5)")


def test_a_file_that_is_not_there_is_named_once(call: Call, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothere\.yaml: No such file or directory$"):
        call("create", str(tmp_path / "nothere.yaml"))


def test_a_rollout_that_nobody_has_looked_at_says_so(call: Call, file: Path) -> None:
    call("create", str(file))
    assert "no controller has looked at it yet" in " ".join(call("status", "feed").split())


def test_a_promotion_that_waits_is_taken_back(call: Call, file: Path, store: Path) -> None:
    call("create", str(file))
    ramping(store)
    call("promote", "feed")
    assert "promote" in SqliteStore(store).read("feed").spec
    call("promote", "feed", "--withdraw")
    assert "promote" not in SqliteStore(store).read("feed").spec
    with pytest.raises(UserError, match="nothing to withdraw"):
        call("promote", "feed", "--withdraw")


@pytest.mark.parametrize("wish", [("pause",), ("set-weight", "25"), ("promote",), ("abort",), ("ack",)])
def test_a_wish_for_a_run_that_has_ended_is_refused(call: Call, file: Path, store: Path, wish: tuple[str, ...]) -> None:
    call("create", str(file))
    ended(store)
    command, *values = wish
    with pytest.raises(UserError, match=r"comes too late: run .* has ended \(Succeeded\)"):
        call(command, "feed", *values)
    call("resume", "feed")


def ended(store: Path) -> None:
    database = SqliteStore(store)
    read = database.read("feed")
    status = ModelRolloutStatus(phase="Succeeded", weight=100, observed_generation=read.generation)
    asyncio.run(database.write_status(read, status.to_json()))


def test_a_store_that_no_controller_looks_at_says_so_at_every_wish_and_look(
    call: Call, file: Path, store: Path
) -> None:
    assert f"feed: created in {store}\n{UNATTENDED}" in call("create", str(file)).replace("\n\n", "\n")
    ramping(store)
    for words in (("pause", "feed"), ("resume", "feed"), ("status",), ("status", "feed")):
        assert " ".join(UNATTENDED.split()[:3]) in " ".join(call(*words).split())
    with only_one(store):
        for words in (("pause", "feed"), ("resume", "feed"), ("status",), ("status", "feed")):
            assert "no controller" not in " ".join(call(*words).split())


def test_numbers_tell_their_age_and_old_ones_of_a_run_under_way_ask_who_looks() -> None:
    def told(phase: str, age_s: float) -> str | None:
        status = {"phase": phase, "evidence": {"asOf": "2026-01-01T00:00:00Z"}}
        as_of = 1_767_225_600.0
        return age_words(ModelRolloutStatus.model_validate(status), as_of + age_s)

    assert told("Ramping", 12) == "12 s old"
    assert told("Succeeded", 7_200_000) == "2000 hours old"
    asked = told("Ramping", 600)
    assert asked is not None
    assert asked.startswith("10 minutes old: nobody has renewed them")
    assert age_words(ModelRolloutStatus(), 0.0) is None


def test_a_second_controller_is_refused_and_asking_for_one_keeps_none_out(store: Path) -> None:
    assert not controller_runs(store)
    with only_one(store):
        assert controller_runs(store)
        with pytest.raises(UserError, match="a controller already runs"), only_one(store):
            pass
    assert not controller_runs(store)


def test_a_promoted_rollout_tells_the_verdict_that_promoted_it_apart_from_what_came_since(
    call: Call, file: Path, store: Path
) -> None:
    call("create", str(file))
    won = {"seq": 1, "at": "2026-01-01T00:00:00Z", "origin": "Ramping", "target": "Promoting", "step": 1}
    won |= {"weight": 50, "reason": "Proven", "message": "win at 50 %: Win: clicks +8%"}
    status = {"phase": "Succeeded", "history": [won], "evidence": {"verdict": "Inconclusive", "words": "too wide"}}
    database = SqliteStore(store)
    asyncio.run(database.write_status(database.read("feed"), status))
    told = " ".join(call("status", "feed").split())
    assert "promoted on win at 50 %: Win: clicks +8%" in told
    assert "since then Inconclusive. too wide" in told


def test_a_file_that_begins_another_run_leaves_the_wishes_for_the_run_before_behind(
    call: Call, file: Path, store: Path
) -> None:
    call("create", str(file))
    ramping(store)
    call("promote", "feed")
    call("set-weight", "feed", "3")
    call("pause", "feed")
    call("create", str(file))
    assert {"promote", "weightOverride"} <= SqliteStore(store).read("feed").spec.keys(), "the same run goes on"
    call("create", str(written(file.parent, {**SPEC, "attempt": 2})))
    spec = SqliteStore(store).read("feed").spec
    assert not {"promote", "weightOverride"} & spec.keys()
    assert (spec["attempt"], spec["paused"]) == (2, True)


def test_merge_keys_are_read_and_a_list_as_key_is_refused(call: Call, file: Path) -> None:
    text = file.read_text()
    file.write_text(text + "x: &x {a: 1}\ny: {<<: *x, b: 2}\n")
    assert "feed: created" in call("create", str(file))
    file.write_text(text + "? [1, 2]\n: 3\n")
    with pytest.raises(UserError, match="a key is a list or a mapping"):
        call("create", str(file))
