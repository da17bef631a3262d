from __future__ import annotations

import re

import pytest

from model.errors import UserError
from model.registry.address import check_address


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:////home/you/runs/registry.db",
        "http://mgoe-registry:5000",
        "https://somebody@mlflow.example",
        "postgresql+psycopg://mlflow@db:5432/mlflow",
    ],
)
def test_an_address_without_a_password_passes(uri: str) -> None:
    assert check_address(uri) == uri


@pytest.mark.parametrize(
    ("uri", "variable"),
    [
        ("https://somebody:secret@mlflow.example", "MLFLOW_TRACKING_PASSWORD"),
        ("postgresql+psycopg://mlflow:secret@db/mlflow", "PGPASSWORD"),
        ("postgresql://db/mlflow?user=mlflow&password=secret", "PGPASSWORD"),
        ("https://:@mlflow.example", "MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_a_password_is_refused_without_being_shown(uri: str, variable: str) -> None:
    with pytest.raises(UserError, match=variable) as refused:
        check_address(uri)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(UserError, match="is no URI"):
        check_address("http://[::1")


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///:memory:?cache=shared",
        "sqlite:///file:a?mode=memory&uri=true",
        "sqlite+pysqlite:///:memory:",
    ],
)
def test_a_database_in_memory_is_refused_for_it_would_end_with_each_step(uri: str) -> None:
    with pytest.raises(
        UserError, match=re.escape(f"the registry's address {uri} names no file: write sqlite:///file.db")
    ):
        check_address(uri)
