from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from model.errors import Fault, UserError
from model.training.mlflow_client import open_client, without_password


def test_usage_is_not_reported(tmp_path: Path) -> None:
    open_client(f"sqlite:///{tmp_path}/registry.db")
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert is_telemetry_disabled()


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(UserError, match=r"MLflow at 'runs/registry\.db': unknown scheme ''; use sqlite:///file\.db"):
        open_client("runs/registry.db")


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no database, but a text that is long enough to be taken for one" * 99)
    with pytest.raises(Fault, match="file is not a database") as caught:
        open_client(f"sqlite:///{tmp_path}/notes.txt")
    assert "\n" not in str(caught.value)


def test_a_database_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Fault, match=r"cannot write .*/file: (File exists|Not a directory)"):
        open_client(f"sqlite:///{tmp_path}/file/registry.db")


def test_a_server_that_is_down_is_one_line() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Fault, match=f"MLflow at http://127.0.0.1:{port} fails: .*Connection refused") as caught:
        open_client(f"http://127.0.0.1:{port}")
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("Connection refused")


def test_a_missing_driver_is_named_and_the_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg2", None)
    with pytest.raises(UserError, match=r"me:\*\*\*@127\.0\.0\.1:9/x needs the package 'psycopg2'"):
        open_client("postgresql+psycopg2://me:hush@127.0.0.1:9/x")


def test_a_password_is_masked_when_a_uri_is_shown() -> None:
    assert without_password("postgresql://me:hush@db/x") == "postgresql://me:***@db/x"
    assert without_password("http://registry:5000") == "http://registry:5000"
