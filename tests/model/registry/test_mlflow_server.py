"""The same registry behind MLflow's own server, as in a cluster."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest

from model.errors import UserError
from model.registry.alias import move, roll_back
from model.registry.mlflow_registry import MlflowRegistry
from model.training.mlflow_client import open_client

pytestmark = pytest.mark.slow
READY_SECONDS = 180.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    options += [
        "--backend-store-uri",
        f"sqlite:///{folder}/server.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    # The command starts its web server as a child: the kernel ends both through their common session.
    command = ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "mlflow", "server", *options]
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | settings, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, process, folder / "server.log")
        yield url
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):  # noqa: S310  our own loopback address
                return
        except (URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the MLflow server did not come up: {log.read_text()[-2000:]}")


def test_a_local_model_is_uploaded_to_its_run_and_registered_once(server: str, tmp_path: Path) -> None:
    client = open_client(server)
    run_id = client.create_run("0").info.run_id
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("weights")
    registry = MlflowRegistry(server)
    tags = {"model_digest": "a", "run_id": run_id}
    made = registry.register("mgoe", (tmp_path / "model").as_uri(), tags)
    assert made == registry.register("mgoe", (tmp_path / "model").as_uri(), tags)
    assert made.uri.endswith(f"{run_id}/model") or made.uri.endswith(f"{run_id}/artifacts/model")
    assert [file.path for file in client.list_artifacts(run_id, "model")] == ["model/weights"]


def test_a_model_on_s3_is_registered_where_it_is_and_aliases_move(server: str) -> None:
    registry = MlflowRegistry(server)
    one = registry.register("other", "s3://bucket/models/1", {"model_digest": "1"})
    two = registry.register("other", "s3://bucket/models/2", {"model_digest": "2"})
    assert (one.uri, one.number, two.number) == ("s3://bucket/models/1", 1, 2)
    move(registry, "candidate", one)
    assert move(registry, "candidate", two).aliases == ("candidate",)
    assert roll_back(registry, "other", "candidate").number == 1
    assert registry.versions("nobody") == []


def test_a_local_model_without_a_run_is_refused_in_one_line(server: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"was trained without tracking, so the registry server has no run"):
        MlflowRegistry(server).register("mgoe", tmp_path.as_uri(), {"model_digest": "b"})
