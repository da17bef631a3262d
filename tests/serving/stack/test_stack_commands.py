"""`mgoe up`, `down`, `status`, `logs` as a hostile newcomer types them: one line, and nothing left behind."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from model.errors import MgoeError, UserError
from model.registry.mlflow_registry import MlflowRegistry
from model.registry.promotion import promote
from serving.stack.commands import app
from serving.stack.folder import StackFolder
from serving.stack.health import Condition, Seen
from serving.stack.identity import boot, identity_of, marked
from serving.stack.pair import address_of, named_pair, registered_pair
from serving.stack.plan import Pair, StackPlan, read_plan, write_plan
from serving.stack.ports import HOST, chosen
from serving.stack.records import ProcessRecord, Records, write_records
from serving.stack.services import Service, port_names, services_of
from serving.stack.stack import View, Wish, planned
from serving.stack.status_text import as_document


@pytest.fixture
def bundles(tmp_path: Path) -> list[str]:
    """Two folders that look like bundles from outside."""
    made = []
    for name in ("mmoe", "mgoe"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
        made.append(str(tmp_path / name))
    return made


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "stack"


def mgoe(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def refusal(*words: str | Path) -> str:
    error = mgoe(*words).exception
    assert isinstance(error, MgoeError), error
    assert "\n" not in str(error)
    return str(error)


def plan(**changes: object) -> StackPlan:
    bare = StackPlan.model_validate({"pair": Pair(baseline="file:///a", candidate="file:///b"), **changes})
    return bare.model_copy(update={"ports": {name: 20_000 + n for n, name in enumerate(port_names(bare))}})


@pytest.mark.parametrize("command", ["down", "status"])
def test_a_folder_without_a_stack_is_told(command: str, state: Path) -> None:
    assert f"{state} holds no stack" in refusal(command, "--state", state)
    assert not state.exists()


def test_logs_of_a_folder_without_a_stack_are_none(state: Path) -> None:
    assert f"{state} holds no logs" in refusal("logs", "--state", state)


def test_one_bundle_alone_is_no_pair(state: Path, bundles: list[str]) -> None:
    assert "--candidate is missing" in refusal("up", "--state", state, "--baseline", bundles[0])


def test_a_bundle_that_is_not_there_is_told_before_anything_starts(state: Path, bundles: list[str]) -> None:
    said = refusal("up", "--state", state, "--baseline", bundles[0], "--candidate", "/no/bundle")
    assert said.startswith("--candidate /no/bundle: there is no bundle")
    assert not state.exists()


def test_what_is_asked_for_is_what_is_brought_up(
    state: Path, bundles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Wish] = []

    def up(folder: StackFolder, wish: Wish, _: object) -> View:
        heard.append(wish)
        return View(folder, plan(), None, ())

    monkeypatch.setattr("serving.stack.stack.up", up)
    words = ("--rankers", "3", "--gateways", "4", "--scorers", "onnx", "--no-console", "--port", "gateway=18999")
    assert mgoe("up", "--state", state, "--baseline", bundles[0], "--candidate", bundles[1], *words).exit_code == 0
    pair = Pair(baseline=Path(bundles[0]).as_uri(), candidate=Path(bundles[1]).as_uri())
    assert heard == [Wish(pair, {"gateway": 18999}, scorers="onnx", rankers=3, gateways=4, console=False)]


@pytest.mark.parametrize("port", ["gateway", "gateway=", "gateway=0", "gateway=65536", "gateway=-1", "=x"])
def test_a_port_is_a_name_and_a_number(port: str, state: Path, bundles: list[str]) -> None:
    words = ("up", "--state", state, "--baseline", bundles[0], "--candidate", bundles[1], "--port", port)
    assert refusal(*words) == f"--port {port}: write NAME=PORT, such as gateway=8000"


def test_a_port_of_no_process_is_refused_with_the_names_there_are(state: Path, bundles: list[str]) -> None:
    words = ("up", "--state", state, "--baseline", bundles[0], "--candidate", bundles[1], "--port", "door=18999")
    assert refusal(*words).startswith("--port door: the stack's ports are gateway, gateway-admin, gateway-2-admin,")


def test_a_port_that_is_taken_is_one_line_and_nothing_is_started(state: Path, bundles: list[str]) -> None:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        sock.listen(1)
        port = sock.getsockname()[1]
        words = ("up", "--state", state, "--baseline", bundles[0], "--candidate", bundles[1])
        assert f"port {port} for gateway is taken" in refusal(*words, "--port", f"gateway={port}")
    assert marked(StackFolder.at(state).root) == {}


def test_a_state_folder_that_cannot_be_is_one_line(tmp_path: Path, bundles: list[str]) -> None:
    (tmp_path / "file").write_text("")
    words = ("up", "--state", tmp_path / "file" / "x", "--baseline", bundles[0], "--candidate", bundles[1])
    assert "cannot be written" in refusal(*words)


def test_two_ways_to_name_the_bundles_are_refused(state: Path, bundles: list[str]) -> None:
    words = ("up", "--state", state, "--baseline", bundles[0], "--candidate", bundles[1], "--run", "runs")
    assert "leave --run and --registry out" in refusal(*words)
    assert "leave one out" in refusal("up", "--state", state, "--run", "runs", "--registry", "sqlite:///x")


def test_a_run_without_a_registry_is_told(state: Path, tmp_path: Path) -> None:
    assert f"there is no registry {tmp_path}/registry.db" in refusal("up", "--state", state, "--run", tmp_path)


def test_no_bundles_and_no_run_here_is_told(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "`mgoe run` makes one" in refusal("up", "--state", state)


def test_a_stack_of_other_bundles_that_runs_keeps_its_folder(state: Path, bundles: list[str]) -> None:
    folder = StackFolder.at(state).made()
    write_plan(folder, plan())
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        _note(folder, sleeper.pid)
        said = refusal("up", "--state", state, "--baseline", bundles[0], "--candidate", bundles[1])
        assert said.startswith(f"state folder {state} is in use by a stack of other bundles or options")
        assert sleeper.poll() is None
        assert mgoe("down", "--state", state).exit_code == 0
        assert sleeper.wait(5) == -15
    finally:
        sleeper.kill()


def test_down_ends_no_process_that_only_has_the_number_of_one_of_its_own(state: Path) -> None:
    folder = StackFolder.at(state).made()
    write_plan(folder, plan())
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        _note(folder, stranger.pid, start_off_by=1)
        assert mgoe("down", "--state", state).stdout == "nothing ran\n"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_records_of_before_the_machine_was_started_mean_no_process(state: Path) -> None:
    folder = StackFolder.at(state).made()
    write_plan(folder, plan())
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        _note(folder, stranger.pid, of_boot="earlier")
        assert mgoe("down", "--state", state).stdout == "nothing ran\n"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_status_of_a_stack_that_is_down_says_so_with_exit_code_1(state: Path) -> None:
    folder = StackFolder.at(state).made()
    write_plan(folder, plan())
    shown = mgoe("status", "--state", state)
    assert shown.exit_code == 1
    assert "the stack is down" in shown.stdout
    document = json.loads(mgoe("status", "--state", state, "--json").stdout)
    assert not document["ready"]
    assert {one["state"] for one in document["processes"].values()} == {"stopped"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pair": {}}', '{"version": 1, "surprise": 2}'])
def test_a_plan_that_is_none_is_one_line(state: Path, text: str) -> None:
    folder = StackFolder.at(state).made()
    folder.plan.write_text(text)
    assert "is no stack's plan" in refusal("status", "--state", state)


def test_logs_are_shown_with_the_name_of_their_process(state: Path) -> None:
    folder = StackFolder.at(state).made()
    folder.log("gateway").write_text("".join(f"line {n}\n" for n in range(100)))
    folder.log("evidence").write_text("ends without a newline")
    assert mgoe("logs", "gateway", "--state", state, "-n", "2").stdout == "line 98\nline 99\n"
    assert mgoe("logs", "--state", state, "-n", "1").stdout == "evidence  ends without a newline\ngateway   line 99\n"
    assert "there are evidence, gateway" in refusal("logs", "nobody", "--state", state)


def test_a_process_that_is_not_started_again_is_told_apart_from_one_that_is(state: Path) -> None:
    folder = StackFolder.at(state).made()
    conditions: dict[str, Condition] = {"one": "ready", "two": "waits", "three": "ended"}
    seen = [
        Seen(Service(name, (), 1, "/", 0), ProcessRecord(state="runs", pid=1, since=time.time()), condition)
        for name, condition in conditions.items()
    ]
    document = json.loads(as_document(View(folder, plan(), None, tuple(seen))))
    assert [one["state"] for one in document["processes"].values()] == ["ready", "waits", "ended"]
    assert [one["pid"] for one in document["processes"].values()] == [1, None, None]
    assert not document["ready"]


def test_every_port_has_one_process_that_is_told_of_it(state: Path) -> None:
    folder = StackFolder.at(state)
    for made in (plan(), plan(rankers=3, gateways=2, prometheus=True, console=True)):
        services = services_of(made, folder)
        assert len({one.name for one in services}) == len(services)
        assert len({one.ready for one in services}) == len(services)
        for one in services:
            if one.name.startswith("gateway"):  # they share one, which is in their own configuration
                assert (one.port, one.command[-1]) == (
                    made.ports["gateway"],
                    {"gateway": "1", "gateway-2": "2"}[one.name],
                )
                assert str(made.ports[f"{one.name}-admin"]) in one.ready
            else:
                assert one.port == made.ports[one.name]
                assert str(one.port) in " ".join(one.command)


def test_every_envoy_writes_a_log_of_its_own_and_the_evidence_reads_them_all(state: Path) -> None:
    services = {one.name: one for one in services_of(plan(gateways=3), StackFolder.at(state))}
    command = services["evidence"].command
    logs = [Path(command[at + 1]).name for at, word in enumerate(command) if word == "--access-log"]
    assert logs == ["access.log", "access-2.log", "access-3.log"]
    assert {f"gateway-{number}" for number in (2, 3)} < set(services["controller"].after)


def test_the_log_of_an_envoy_that_is_no_more_is_still_read_to_its_end(state: Path) -> None:
    folder = StackFolder.at(state)
    folder.gateway.mkdir(parents=True)
    for name in ("access.log", "access-3.log", "access-1.log", "access-2.log.1", "access-x.log", "access-02.log"):
        (folder.gateway / name).touch()
    command = {one.name: one for one in services_of(plan(gateways=2), folder)}["evidence"].command
    logs = [Path(command[at + 1]).name for at, word in enumerate(command) if word == "--access-log"]
    assert logs == ["access.log", "access-2.log", "access-3.log"]


def test_a_new_stack_has_two_of_what_users_cannot_do_without_and_an_older_one_stays_as_it_was(
    state: Path, bundles: list[str]
) -> None:
    folder = StackFolder.at(state).made()
    pair = Pair(baseline=Path(bundles[0]).as_uri(), candidate=Path(bundles[1]).as_uri())
    made = planned(folder, Wish(pair), alive=False)
    assert (made.rankers, made.gateways) == (2, 2)
    write_plan(folder, plan())
    assert (planned(folder, Wish(), alive=False).rankers, planned(folder, Wish(), alive=False).gateways) == (1, 1)
    assert planned(folder, Wish(gateways=2), alive=False).gateways == 2


def test_a_plan_is_read_as_it_was_written(state: Path) -> None:
    folder = StackFolder.at(state).made()
    written = plan(rankers=2).model_copy(update={"ports": chosen(("gateway",), {}, {})})
    write_plan(folder, written)
    assert read_plan(folder) == written


def test_bundles_are_named_by_folder_or_address(bundles: list[str], tmp_path: Path) -> None:
    here = Path(bundles[0]).as_uri()
    assert address_of("--baseline", bundles[0]) == address_of("--baseline", here) == here
    assert address_of("--baseline", "s3://bucket/key") == "s3://bucket/key"
    assert named_pair(None, None) is None
    for wrong in ("http://host/bundle", "file://elsewhere/bundle", str(tmp_path)):
        with pytest.raises(UserError, match="--baseline "):
            address_of("--baseline", wrong)


def test_an_alias_that_nothing_carries_is_told(tmp_path: Path) -> None:
    MlflowRegistry(f"sqlite:///{tmp_path}/registry.db")
    (tmp_path / "registry.db").touch()
    with pytest.raises(UserError, match="no version of 'mgoe' has the alias 'baseline'"):
        registered_pair(f"sqlite:///{tmp_path}/registry.db", "mgoe")


def test_after_a_promotion_the_registered_pair_is_the_same_as_before(tmp_path: Path, bundles: list[str]) -> None:
    uri = f"sqlite:///{tmp_path}/registry.db"
    registry = MlflowRegistry(uri)
    for alias, bundle in zip(("baseline", "candidate"), bundles, strict=True):
        tags = {"model_digest": alias, "bundle_uri": Path(bundle).as_uri(), "bundle_digest": alias[0] * 64}
        registry.set_alias("mgoe", alias, registry.register("mgoe", "file:///x", tags).number)
    pair = registered_pair(uri, "mgoe")
    promote(registry, "c" * 64, "feed.1", datetime.now(UTC))
    assert registry.by_alias("mgoe", "baseline") == registry.by_alias("mgoe", "candidate")
    assert registered_pair(uri, "mgoe") == pair == named_pair(*bundles)


def _note(folder: StackFolder, pid: int, *, start_off_by: int = 0, of_boot: str | None = None) -> None:
    """Notes a process as the gateway of a supervisor that is gone."""
    identity = identity_of(pid)
    assert identity is not None
    record = ProcessRecord(state="runs", pid=pid, start=identity.start + start_off_by, since=time.time())
    gone = ProcessRecord(state="runs", pid=2**22 + 1, start=1, since=time.time())
    write_records(folder, Records(boot=of_boot or boot(), supervisor=gone, processes={"ranker-baseline": record}))
