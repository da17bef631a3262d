"""MLflow gets live metrics, options and lineage."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from model.errors import Fault, UserError
from model.nets.config import InputOptions
from model.training.progress import Silent
from model.training.run import train
from model.training.tracking import begun
from tests.model.training.tiny_job import QUICK, SMALL_MMOE
from tests.model.training.tiny_world import write_artifacts


@pytest.mark.slow
def test_a_run_leaves_its_curve_options_and_lineage_in_mlflow(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    log, graph = write_artifacts(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    model = SMALL_MMOE.model_copy(update={"inputs": InputOptions(groups=True)})
    manifest = train(log, graph, tmp_path / "model", model, QUICK, "candidate", uri, watcher=Silent())
    client = MlflowClient(tracking_uri=uri)
    run = client.get_run(str(manifest.facts["run_id"]))
    history = client.get_metric_history(run.info.run_id, "validation_auc_mean")
    assert [metric.step for metric in history] == [4, 7, 11, 14]
    assert run.info.status == "FINISHED"
    assert run.data.params["training.learning_rate"] == "0.02"
    assert run.data.params["model.architecture"] == "mmoe"
    assert run.data.tags["role"] == "candidate"
    assert run.data.tags["graph_version"] == "g0"
    assert run.data.tags["data_digest"] == manifest.facts["data_digest"]


@pytest.mark.slow
def test_a_tracking_database_that_cannot_be_opened_is_a_fault_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Fault, match="MLflow at sqlite") as caught:
        begun(f"sqlite:///{tmp_path}/file/mlflow.db", "run", {})
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_tracking_server_that_stops_in_the_middle_of_a_run_is_a_fault_in_one_line(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    tracker = begun(f"sqlite:///{database}", "run", {})
    with sqlite3.connect(database) as connection:
        connection.execute("DROP TABLE params")
    with pytest.raises(Fault, match="MLflow at sqlite") as caught:
        tracker.params({"name": "value"})
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_first_run_of_a_new_database_is_begun_by_many_at_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda number: begun(uri, f"run {number}", {}).run_id, range(4)))
    assert len(set(runs)) == 4


def test_a_password_in_the_address_is_not_shown() -> None:
    with pytest.raises(UserError, match=r"me:\*\*\*@db"):
        begun("oracle://me:hush@db/x", "run", {})
