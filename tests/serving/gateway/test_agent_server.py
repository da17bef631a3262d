"""The agent's process: as Kubernetes starts it, and as it ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving.gateway.config_map_api import ConfigMapApi, served
from tests.serving.gateway.gateways import Gateway, config_of, endpoint, gateway, wait_for
from tests.serving.gateway.upstream import Upstream, running

_PROGRAM = """
import logging, sys
from pathlib import Path
from serving.gateway.agent import Agent
from serving.gateway.agent_server import AgentServerSettings, run
from serving.gateway.config import read_config
from serving.gateway.folder import GatewayFolder
from serving.gateway.live import LiveSplit
from tests.serving.gateway.config_map_api import client
logging.basicConfig(level=logging.INFO, format="%(message)s")
folder = GatewayFolder(Path(sys.argv[1]))
agent = Agent(LiveSplit(folder), read_config(folder.root / "gateway.yaml"), client(sys.argv[2]), None, "pod-1")
run(agent, AgentServerSettings(port=0, settle_s=0.2, drain_s=5))
"""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[Gateway, Upstream]]:
    with (
        running(Upstream("one"), Upstream("two")) as (one, two),
        gateway(tmp_path / "gateway", config_of([endpoint(one)], [endpoint(two)])) as made,
    ):
        yield made, one


def test_it_tells_its_port_and_at_sigterm_drains_envoy_and_ends(
    started: tuple[Gateway, Upstream], tmp_path: Path
) -> None:
    made, _ = started
    with served(ConfigMapApi()) as address, (tmp_path / "agent.log").open("ab") as log:
        command = [sys.executable, "-c", _PROGRAM, str(made.folder.root), address]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=Path(__file__).parents[3])
        try:
            said = tmp_path / "agent.log"
            wait_for(lambda: "listening on http" in said.read_text(), "its port", 60)
            port = int(said.read_text().rpartition(":")[2].split()[0])
            paths = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)
            wait_for(lambda: paths.get("/health/ready").status_code == 200, "readiness")
            assert paths.get("/v1/split").json()["replica"] == "pod-1"
            assert httpx.get(f"http://127.0.0.1:{made.envoy.port}/gateway/ready").status_code == 200
            process.send_signal(signal.SIGTERM)
            wait_for(lambda: _ready(made.envoy.port) != 200, "Envoy's readiness to fail")
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
    os.kill(made.envoy.pid, 0)  # Envoy itself is ended by Kubernetes, not by the agent


def _ready(port: int) -> int:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/gateway/ready").status_code
    except httpx.HTTPError:
        return 0


def test_outside_a_pod_the_command_says_so_in_one_line(tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text(
        json.dumps(config_of([{"host": "a", "http": 1}], [{"host": "b", "http": 1}]).model_dump(mode="json"))
    )
    command = [sys.executable, "-m", "mgoe", "gateway", "agent", "-c", str(config), "--name", "mgoe-gateway"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KUBERNETES_")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("mgoe: this is no pod")
    assert done.stderr.count("\n") == 1
    done = subprocess.run(
        [*command, "--evidence", "evidence:8090"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (
        2,
        "mgoe: --evidence evidence:8090: write http://HOST:PORT or https://HOST:PORT\n",
    )
