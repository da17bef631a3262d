"""`mgoe run` on small logs: what is wrong with the input or the machine, and what a second run reuses."""

from __future__ import annotations

import html
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components.events import read_events
from model.data.synthetic import write_synthetic
from model.data.synthetic_config import SyntheticConfig
from pipelines.live_rollout import ROLLOUT
from serving.rollout.sqlite_store import SqliteStore
from serving.rollout.status_text import status_of
from serving.stack.folder import StackFolder
from serving.stack.records import living
from serving.traffic.summary import HONESTY

RECIPE = """
name: tiny
graph: {user_groups: 4, item_groups: 4}
baseline: {architecture: mmoe}
candidate: {architecture: mgoe}
training: {epochs: 1}
evaluation: {replicates: 100}
gate: {min_mean_auc_lift: -1, max_task_auc_loss: 1, max_ece: null}
"""
CHECKED_AGAIN = ("parity baseline", "parity candidate", "register")
"""Steps that make no artifact: what they assure is what is there now."""
FILE_BYTES = 150_000
"""Largest file that the process with the full disk may write: the compiled pipeline fits, an encoded log does not."""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "synthetic"
    write_synthetic(folder, SyntheticConfig(rows=20_000, users=800, items=200, user_clusters=4, item_clusters=4))
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(RECIPE)
    return path


def run(
    log: Path, recipe: Path, out: Path, *more: str, file_bytes: int | None = None, live: bool = False
) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    return subprocess.run(
        [
            sys.executable,
            "-m",
            "mgoe",
            "run",
            "--data",
            str(log),
            "--recipe",
            str(recipe),
            "--out",
            str(out),
            "--live" if live else "--no-live",
            *more,
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=limit,
        timeout=1200,
    )


def states(out: Path) -> dict[str, str]:
    return {event.step: event.state for event in read_events(out / "events.jsonl")}


def test_a_missing_column_is_named_in_one_line_with_exit_code_2(log: Path, recipe: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(log, tmp_path / "broken")
    schema = yaml.safe_load((broken / "schema.yaml").read_text())
    schema["tasks"][0]["column"] = "clicked_twice"
    (broken / "schema.yaml").write_text(yaml.safe_dump(schema))
    done = run(broken, recipe, tmp_path / "runs")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "clicked_twice" in done.stderr


def test_a_full_disk_is_one_line_with_exit_code_1_and_leaves_nothing_half_written(
    log: Path, recipe: Path, tmp_path: Path
) -> None:
    done = run(log, recipe, tmp_path / "runs", file_bytes=FILE_BYTES)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no space left" in done.stderr
    assert not list((tmp_path / "runs" / "artifacts").rglob("manifest.json"))


@pytest.mark.slow
def test_a_second_run_reuses_all_artifacts_and_checks_and_registers_them_again(
    log: Path, recipe: Path, tmp_path: Path
) -> None:
    first = run(log, recipe, tmp_path / "runs")
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "runs" / "report.html").is_file()
    assert set(states(tmp_path / "runs").values()) == {"made"}
    second = run(log, recipe, tmp_path / "runs")
    assert second.returncode == 0, second.stderr
    told = states(tmp_path / "runs")
    again = [told.pop(step) for step in CHECKED_AGAIN]
    assert set(again) == {"made"}
    assert set(told.values()) == {"reused"}


@pytest.mark.slow
def test_a_refused_candidate_is_told_with_the_baselines_version_and_exit_code_3(
    log: Path, recipe: Path, tmp_path: Path
) -> None:
    strict = tmp_path / "strict.yaml"
    strict.write_text(recipe.read_text().replace("min_mean_auc_lift: -1", "min_mean_auc_lift: 1"))
    done = run(log, strict, tmp_path / "runs")
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("\n") == 1
    assert "baseline registered as version 1; candidate mgoe is not registered" in done.stderr
    told = next(line for line in done.stdout.splitlines() if " register " in line)
    assert "refused" in told
    assert "failed" not in done.stdout


@pytest.mark.slow
def test_a_run_to_its_end_decides_the_rollout_writes_its_report_and_leaves_no_process(
    log: Path, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    done = run(log, recipe, out, live=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^the candidate is (promoted|rolled back): ", done.stdout, re.MULTILINE), done.stdout
    status = status_of(SqliteStore(StackFolder.at(out / "stack").rollouts).read(ROLLOUT))
    assert status.phase in {"Succeeded", "RolledBack"}
    assert {"Started", "StepUp"} & {line.reason for line in status.history}
    assert HONESTY in html.unescape((out / "experiment.html").read_text())
    assert json.loads((out / "traffic.json").read_text())
    assert done.stdout.index("the candidate is") < done.stdout.index(f"registry   sqlite:///{out}")
    assert not living(StackFolder.at(out / "stack"))


@pytest.mark.slow
@pytest.mark.s3
def test_a_fresh_machine_reuses_what_another_one_put_on_s3(
    log: Path, recipe: Path, tmp_path: Path, s3_bucket: str
) -> None:
    store = ("--store", f"s3://{s3_bucket}/artifacts")
    first = run(log, recipe, tmp_path / "one", *store)
    assert first.returncode == 0, first.stderr
    second = run(log, recipe, tmp_path / "two", *store)
    assert second.returncode == 0, second.stderr
    told = states(tmp_path / "two")
    again = [told.pop(step) for step in CHECKED_AGAIN]
    assert set(again) == {"made"}
    assert set(told.values()) == {"reused"}
