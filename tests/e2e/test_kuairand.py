"""The main job on real impressions, with a small budget: KuaiRand-Pure goes in, a registered pair comes out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from model.artifact.manifest import verify
from model.evaluation.comparison import read_comparison
from model.recipe import load_recipe
from model.registry.mlflow_registry import MlflowRegistry

DATA = Path(os.environ.get("MGOE_DATA") or "nowhere") / "kuairand_pure"

pytestmark = [
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not DATA.is_dir(), reason=f"KuaiRand-Pure is not at {DATA}: name its parent with MGOE_DATA"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mgoe run` with the shipped recipe, cut to one epoch and few bootstrap draws."""
    folder = tmp_path_factory.mktemp("kuairand")
    recipe = load_recipe("kuairand_pure").model_dump(mode="json", exclude_unset=True)
    for training in ("baseline_training", "candidate_training"):
        recipe[training] |= {"epochs": 1}
    recipe["evaluation"] = {"replicates": 200}
    (folder / "small.yaml").write_text(yaml.safe_dump(recipe))
    done = run(folder, "--no-live")
    assert done.returncode == 0, done.stderr
    assert "baseline 1, candidate 2" in done.stdout
    return folder / "out"


def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mgoe", "run", "--data", str(DATA), "--recipe", str(folder / "small.yaml")]
    return subprocess.run([*command, "--out", str(folder / "out"), *more], capture_output=True, text=True, check=False)


def artifact(finished: Path, step: str) -> Path:
    (folder,) = (finished / "artifacts" / step).iterdir()
    return folder


def test_both_models_rank_real_users_better_than_a_coin_and_the_candidate_leads(finished: Path) -> None:
    mean = read_comparison(artifact(finished, "compare")).find("auc")
    assert mean.baseline is not None
    assert mean.baseline > 0.70
    assert mean.lower is not None
    assert mean.lower > 0


def test_the_registered_pair_leads_back_to_run_graph_and_data(finished: Path) -> None:
    registry = MlflowRegistry(f"sqlite:///{finished / 'registry.db'}")
    (name,) = registry.names()
    log = verify(artifact(finished, "ingest"))
    for alias in ("baseline", "candidate"):
        version = registry.by_alias(name, alias)
        assert version is not None
        assert version.tags["data_digest"] == log.digest
        assert version.tags["run_id"]
    assert registry.by_alias(name, "candidate").tags["graph_version"]  # type: ignore[union-attr]


def test_the_report_stands_alone(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert "mgoe" in page
    assert "<svg" in page
    assert 'src="http' not in page
    assert "<script" not in page


@pytest.mark.slow
def test_the_pair_goes_before_simulated_users_until_its_rollout_is_decided(finished: Path) -> None:
    done = run(finished.parent)
    assert done.returncode == 0, done.stderr
    assert any(end in done.stdout for end in ("Succeeded", "RolledBack"))
    assert "<svg" in (finished / "experiment.html").read_text()
