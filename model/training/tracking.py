"""Where live metrics go: MLflow, or nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from model.training.curve import Evaluation


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
    """A run in MLflow. tracking_uri: sqlite:///path or a server. tags: lineage (role, digests, graph version)."""

    _experiment = "mgoe"

    def __init__(self, tracking_uri: str, name: str, tags: Mapping[str, str]) -> None:
        from mlflow.tracking import MlflowClient  # noqa: PLC0415 - takes seconds, so only where a run is tracked

        self._client: Any = MlflowClient(tracking_uri=tracking_uri)
        found = self._client.get_experiment_by_name(self._experiment)
        experiment = self._client.create_experiment(self._experiment) if found is None else found.experiment_id
        self._run_id: str = self._client.create_run(experiment, run_name=name, tags=dict(tags)).info.run_id

    @property
    def run_id(self) -> str:
        return self._run_id

    def params(self, params: Mapping[str, str]) -> None:
        for name, value in params.items():
            self._client.log_param(self._run_id, name, value)

    def evaluated(self, evaluation: Evaluation) -> None:
        values = {f"validation_auc_{task}": value for task, value in evaluation.auc.items() if value is not None}
        values |= {"train_loss": evaluation.train_loss, "validation_log_loss": evaluation.log_loss}
        values |= {"rows_per_second": evaluation.rows_per_second}
        if evaluation.mean_auc is not None:
            values["validation_auc_mean"] = evaluation.mean_auc
        for name, value in values.items():
            self._client.log_metric(self._run_id, name, value, step=evaluation.step)

    def end(self, failed: bool) -> None:
        self._client.set_terminated(self._run_id, status="FAILED" if failed else "FINISHED")
