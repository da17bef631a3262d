"""The agent where things go wrong around it: no Envoy, no file, an abort amid a raise."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from fastapi.testclient import TestClient

from model.errors import Fault, UserError
from serving.gateway import agent as agent_module
from serving.gateway.agent import STUCK_S, Agent
from serving.gateway.agent_server import make_app
from serving.gateway.config_map import ConfigMapClient, Version
from serving.gateway.exposure_sender import ExposureSender
from serving.gateway.folder import CLUSTERS_FILE, GatewayFolder
from serving.gateway.live import LiveSplit
from serving.gateway.split import Split
from tests.serving.gateway.gateways import config_of, wait_for


@dataclass
class Wanted:
    """A ConfigMap; a version may follow when it was read so often."""

    versions: list[Version]
    """The last one stays."""
    name: str = "mgoe-gateway"
    namespace: str = "ranking"
    read_times: int = 0
    changed: threading.Event = field(default_factory=threading.Event)

    def read(self) -> Version:
        self.read_times += 1
        return self.versions.pop(0) if len(self.versions) > 1 else self.versions[0]

    def watch(self, _: Version) -> Iterator[Version]:
        self.changed.wait(0.02)
        yield self.read()


def version(number: int, stratum: int, weight: int) -> Version:
    services = {"baseline": "one", "candidate": "two"}
    split = {"experiment": "e", "salt": "s", "stratum": stratum, "weight": weight, "services": services}
    return Version(str(number), {"split.json": json.dumps(split)})


@pytest.fixture
def folder(tmp_path: Path) -> GatewayFolder:
    """A gateway's folder whose experiment runs, at half; no Envoy."""
    made = GatewayFolder(tmp_path)
    config = config_of([{"host": "b", "http": 1}], [{"host": "c", "http": 2}], experiment={"id": "e", "salt": "s"})
    made.prepare(config)
    LiveSplit(made)._replace_routes(config, Split("e", "s", 9, 5000))
    return made


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_module, "APPLY_S", 0.2)
    monkeypatch.setattr(agent_module, "RETRY_S", 0.01)


def agent_of(folder: GatewayFolder, *versions: Version, sender: object = None) -> Agent:
    wanted = cast("ConfigMapClient", Wanted(list(versions)))
    made_from = cast("ExposureSender", sender) if sender else None
    return Agent(LiveSplit(folder), folder.config(), wanted, made_from, "replica-1", clock=lambda: Clock.now)


class Clock:
    now = 0.0


def test_following_goes_on_after_a_file_was_away(folder: GatewayFolder) -> None:
    content = folder.read(CLUSTERS_FILE)
    (folder.root / CLUSTERS_FILE).unlink()
    agent, stop = agent_of(folder, version(1, 10, 6000)), threading.Event()
    worker = threading.Thread(target=agent.follow, args=(stop,), daemon=True)
    worker.start()
    try:
        wait_for(lambda: CLUSTERS_FILE in (agent.health.problem or ""), "the problem")
        folder.write(CLUSTERS_FILE, content)
        wait_for(lambda: folder.split().phase == 10, "the split")
    finally:
        stop.set()
        worker.join(20)
    assert not worker.is_alive()


def test_following_and_sending_go_on_after_what_nobody_thought_of(
    folder: GatewayFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        spool = SimpleNamespace(tend=lambda: None)

        def step(self, _: Counter[str]) -> int:
            raise ZeroDivisionError("of the sender")

    agent = agent_of(folder, version(1, 10, 6000), sender=Broken())
    stop = threading.Event()

    def broken(_: threading.Event) -> None:
        if agent.health.problem:
            stop.set()
        raise ZeroDivisionError("of the follower")

    monkeypatch.setattr(agent, "_follow_once", broken)
    agent.follow(stop)
    assert agent.health.problem == "ZeroDivisionError: of the follower"
    agent.send(stop)
    assert agent.health.sending == "ZeroDivisionError: of the sender"


def test_liveness_fails_where_a_worker_no_longer_comes_round(folder: GatewayFolder) -> None:
    Clock.now = 0.0
    client = TestClient(make_app(agent_of(folder, version(1, 10, 6000))))
    Clock.now = STUCK_S - 1
    assert client.get("/health/live").status_code == 200
    Clock.now = STUCK_S
    answer = client.get("/health/live")
    assert (answer.status_code, answer.json()) == (503, {"live": False, "seconds_since_turn": {"follow": STUCK_S}})


def test_a_raise_is_not_written_where_the_config_map_says_something_else_by_then(folder: GatewayFolder) -> None:
    """Envoy's admin page hangs meanwhile, for no longer than all that is asked of it together may take."""
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen(50)
        folder.admin_address.write_text(f"127.0.0.1:{hanging.getsockname()[1]}")
        agent = agent_of(folder, version(1, 10, 8000), version(2, 11, 0))
        with pytest.raises(Fault, match=r"^stratum 10 of e: ConfigMap mgoe-gateway was changed before version 1"):
            agent._follow_once(threading.Event())
        assert (folder.split().phase, folder.split().candidate_weight) == (9, 5000)
        agent.look()
        assert (folder.split().phase, folder.split().candidate_weight) == (11, 0)


def test_an_abort_does_not_wait_for_a_raise_in_the_making(folder: GatewayFolder) -> None:
    agent = agent_of(folder, version(2, 11, 0))
    with agent._taking:
        looking = threading.Thread(target=agent.look, daemon=True)
        looking.start()
        wait_for(lambda: folder.split().candidate_weight == 0, "weight 0")
    looking.join(20)


def test_a_fall_to_0_is_written_even_where_the_rest_needs_a_restart(folder: GatewayFolder) -> None:
    other: Mapping[str, object] = {**folder.config().model_dump(mode="json")}
    listener = {**cast("dict[str, object]", other["listener"]), "port": 12345}
    config = type(folder.config()).model_validate({**other, "listener": listener})
    with pytest.raises(UserError, match="need a restart of the gateway"):
        LiveSplit(folder).apply(config, Split("e", "s", 10, 6000), 0.1)
    assert folder.split().candidate_weight == 5000
    with pytest.raises(UserError, match="need a restart of the gateway"):
        LiveSplit(folder).apply(config, Split("e", "s", 10, 0), 0.1)
    assert (folder.split().phase, folder.split().candidate_weight) == (10, 0)
