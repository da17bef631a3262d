"""Where live metrics go: MLflow, or nowhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

from model.training.curve import Evaluation
from model.training.mlflow_client import open_client, plain_errors

EXPERIMENT = "mgoe"
"""The MLflow experiment that holds all runs."""


class Tracker(Protocol):
    """A run of an experiment tracker, begun when it is made."""

    @property
    def run_id(self) -> str: ...

    def params(self, params: Mapping[str, str]) -> None: ...

    def evaluated(self, evaluation: Evaluation) -> None: ...

    def end(self, failed: bool) -> None: ...


class NullTracker:
    """Tracks nothing; its run has no id."""

    run_id = ""

    def params(self, params: Mapping[str, str]) -> None: ...

    def evaluated(self, evaluation: Evaluation) -> None: ...

    def end(self, failed: bool) -> None: ...


class MlflowTracker:
    """A run in MLflow. Made by `begun` or `reopened`. Raises Fault where MLflow does not take what it is told."""

    def __init__(self, client: Any, tracking_uri: str, run_id: str) -> None:
        self._client = client
        self._tracking_uri = tracking_uri
        self._run_id = run_id

    @property
    def run_id(self) -> str:
        return self._run_id

    def params(self, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param  # noqa: PLC0415

        found = [Param(name, value) for name, value in params.items()]
        with plain_errors(self._tracking_uri):
            self._client.log_batch(self._run_id, params=found)

    def evaluated(self, evaluation: Evaluation) -> None:
        values = {f"validation_auc_{task}": value for task, value in evaluation.auc.items() if value is not None}
        values |= {"train_loss": evaluation.train_loss, "validation_log_loss": evaluation.log_loss}
        values |= {"rows_per_second": evaluation.rows_per_second}
        if evaluation.mean_auc is not None:
            values["validation_auc_mean"] = evaluation.mean_auc
        from mlflow.entities import Metric  # noqa: PLC0415

        now = int(time.time() * 1000)
        found = [Metric(name, value, now, evaluation.step) for name, value in values.items()]
        with plain_errors(self._tracking_uri):
            self._client.log_batch(self._run_id, metrics=found)

    def end(self, failed: bool) -> None:
        with plain_errors(self._tracking_uri):
            self._client.set_terminated(self._run_id, status="FAILED" if failed else "FINISHED")


def begun(tracking_uri: str, name: str, tags: Mapping[str, str]) -> MlflowTracker:
    """A new run. tracking_uri: sqlite:///path or a server's address. tags: lineage (role, digests, graph version).

    Raises UserError on a URI of another scheme, Fault where MLflow cannot be reached.
    """
    client = open_client(tracking_uri)
    with plain_errors(tracking_uri):
        run_id = client.create_run(_experiment(client), run_name=name, tags=dict(tags)).info.run_id
    return MlflowTracker(client, tracking_uri, run_id)


def reopened(tracking_uri: str, run_id: str) -> MlflowTracker:
    """A run that another process has begun."""
    return MlflowTracker(open_client(tracking_uri), tracking_uri, run_id)


def _experiment(client: Any) -> str:
    """The id of EXPERIMENT, made where there is none yet; another process may be making it, too."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - takes seconds, so only where a run is tracked

    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        try:
            return str(client.create_experiment(EXPERIMENT))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = client.get_experiment_by_name(EXPERIMENT)
    return str(found.experiment_id)
