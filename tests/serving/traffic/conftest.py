"""One small log artifact, and real loops around it: two rankers, Envoy, the evidence service."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from model.data.artifact import read_dataset
from model.data.dataset import Dataset
from model.data.ingest import ingest
from model.data.synthetic import write_synthetic
from model.data.synthetic_config import SyntheticConfig
from serving.traffic.log_design import DesignOptions, design_of, registration
from tests.serving.evidence.evidence_process import StoreProcess
from tests.serving.gateway.gateways import PATIENT, Gateway, config_of, endpoint, gateway, wait_for
from tests.serving.gateway.upstream import running
from tests.serving.traffic.small_ranker import Score, SmallRanker

EXPERIMENT = "exp-1"


@pytest.fixture(scope="session")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    write_synthetic(folder / "raw", SyntheticConfig(rows=8_000, users=200, items=120, seed=3))
    ingest(str(folder / "raw"), folder / "artifact")
    return folder / "artifact"


@pytest.fixture(scope="session")
def dataset(log: Path) -> Dataset:
    return read_dataset(log)


@dataclass
class World:
    """A running loop, and what stands in its evidence."""

    gateway: Gateway
    store: StoreProcess
    baseline: SmallRanker
    candidate: SmallRanker
    token: Path

    def evidence(self) -> dict[str, Any]:
        with self.store.client("read") as reader:
            document: dict[str, Any] = reader.get(f"/v1/experiments/{EXPERIMENT}/evidence").json()
        return document

    def sums(self, metric: str) -> dict[str, dict[str, float]]:
        """Of each arm: units, value and denominator, over all strata."""
        found: dict[str, dict[str, float]] = {}
        (of,) = (each for each in self.evidence()["metrics"] if each["metric"] == metric)
        for stratum in of["strata"]:
            for arm, aggregate in stratum["arms"].items():
                mine = found.setdefault(arm, {"units": 0, "value": 0, "denominator": 0})
                mine["units"] += aggregate["count"]
                for name, mean in zip(aggregate["names"], aggregate["mean"], strict=True):
                    mine[name] += round(mean * aggregate["count"])
        return found

    def wait_exposures(self, count: int) -> None:
        """Until the evidence has read so many exposures from the gateway's log."""

        def there() -> bool:
            return sum(arm["denominator"] for arm in self.sums("click_per_exposure").values()) >= count

        wait_for(there, f"{count} exposures in the evidence")

    def options(self) -> list[str]:
        """Of `mgoe traffic replay`."""
        named = {
            "--gateway": f"http://127.0.0.1:{self.gateway.envoy.port}",
            "--evidence": self.store.url,
            "--experiment": EXPERIMENT,
            "--token": str(self.token),
        }
        return ["--quiet", *(word for pair in named.items() for word in pair)]


@contextlib.contextmanager
def world(folder: Path, dataset: Dataset, better: Score, worse: Score) -> Iterator[World]:
    """Half of the users on each arm."""
    baseline, candidate = SmallRanker("baseline", score=worse), SmallRanker("candidate", score=better)
    with contextlib.ExitStack() as stack:
        stack.enter_context(running(baseline, candidate))
        config = config_of([endpoint(baseline)], [endpoint(candidate)], **PATIENT)
        split = stack.enter_context(gateway(folder / "gateway", config))
        log_file = str(split.folder.access_log)
        address = f"sqlite:///{folder / 'evidence.db'}"
        store = stack.enter_context(StoreProcess(address, folder, "--migrate", "--access-log", log_file))
        options = DesignOptions(EXPERIMENT, "salt-1", baseline.digest, candidate.digest, maturity_s=0, burn_in=10)
        design = design_of(dataset.schema, options)
        with store.client("admin") as admin:
            assert admin.post("/v1/experiments", json=registration(design, dataset.schema)).status_code == 201
            phase = split.set(50).phase
            start = {"phase": phase, "start": time.time(), "candidate_weight": 0.5}
            assert admin.post(f"/v1/experiments/{EXPERIMENT}/phases", json=start).status_code == 201
        token = folder / "token"
        token.write_text("write-token-0123456789\n")
        yield World(split, store, baseline, candidate, token)


def figures(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document
