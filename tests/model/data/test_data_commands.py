from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from model.artifact.writer import ArtifactWriter
from model.data.commands import app, synthetic_config
from model.errors import UserError
from tests.model.data.raw_logs import rows, write


def run(*args: str) -> tuple[str, BaseException | None]:
    result = CliRunner().invoke(app, list(args))
    return result.output, result.exception


def test_check_prints_every_finding_and_ends_with_exit_code_2(tmp_path: Path) -> None:
    place = write(tmp_path, rows=rows().reverse().with_columns(buy=pl.lit(0)))
    output, error = run("check", place.root)
    assert "error rows.parquet: time time is not sorted" in output
    assert "error rows.parquet: task buy has no positive" in output
    assert isinstance(error, UserError)
    assert error.exit_code == 2
    assert "2 errors" in str(error)


def test_check_says_that_a_sound_log_can_be_ingested(tmp_path: Path) -> None:
    output, error = run("check", write(tmp_path).root)
    assert error is None
    assert "can be ingested" in output


def test_a_log_is_made_ingested_and_described(tmp_path: Path) -> None:
    small = ["--rows", "5000", "--users", "200", "--items", "50"]
    assert run("synthetic", "--out", str(tmp_path / "raw"), *small)[1] is None
    output, error = run("ingest", str(tmp_path / "raw"), "--out", str(tmp_path / "log"))
    assert error is None
    assert "synthetic: 200 users, 50 items" in output
    output, error = run("describe", str(tmp_path / "log"))
    assert error is None
    assert "region" in output


def test_a_wrong_option_is_named_with_its_value() -> None:
    with pytest.raises(UserError, match=r"--rows 3: .*greater than or equal to 10"):
        synthetic_config({"rows": 3})


def test_what_is_no_ingested_log_is_not_described(tmp_path: Path) -> None:
    said = run("describe", write(tmp_path / "raw").root)[1]
    assert "no manifest.json in it, so it is not a whole artifact" in str(said)
    with ArtifactWriter(tmp_path / "model", "model", "test") as writer:
        (writer.path / "weights").write_text("w")
    said = run("describe", str(tmp_path / "model"))[1]
    assert str(said).endswith("holds a model artifact; name the folder that `mgoe data ingest --out` wrote")
