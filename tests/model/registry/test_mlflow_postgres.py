"""The same registry in PostgreSQL, as a team or a cluster has it; the password comes from the environment."""

from __future__ import annotations

from typing import Any

import pytest

from model.registry.gate import Gate
from model.registry.mlflow_registry import MlflowRegistry
from model.registry.run import register
from model.training.mlflow_client import open_client

pytestmark = pytest.mark.slow


def test_a_pair_is_registered_and_its_aliases_move_in_postgresql(postgres_database: str, pair: Any) -> None:
    assert postgres_database.startswith("postgresql://")
    first = register(pair.baseline, pair.candidate, pair.comparison, postgres_database, Gate(), "run-1")
    assert (first.baseline.aliases, first.candidate.aliases) == (("baseline",), ("candidate",))
    again = register(pair.baseline, pair.candidate, pair.comparison, postgres_database, Gate(), "run-1")
    assert again == first
    named = postgres_database.replace("postgresql://", "postgresql+psycopg://")
    assert MlflowRegistry(named).by_alias("mgoe", "candidate") == first.candidate


def test_training_metrics_are_kept_in_postgresql(postgres_database: str) -> None:
    client = open_client(postgres_database)
    run = client.create_run("0").info.run_id
    client.log_metric(run, "validation_auc", 0.75, step=3)
    assert open_client(postgres_database).get_run(run).data.metrics == {"validation_auc": 0.75}
