from pathlib import Path

import pytest

from components.ingest.fingerprint import fingerprint
from model.errors import Fault, UserError


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "rows.parquet").write_bytes(b"rows")
    return tmp_path / "log"


def test_the_same_files_have_the_same_fingerprint_wherever_they_lie(log: Path) -> None:
    before = fingerprint(str(log), None)
    moved = log.rename(log.parent / "moved")
    assert fingerprint(str(moved), None) == before


def test_other_rows_another_schema_or_another_file_change_the_fingerprint(log: Path, tmp_path: Path) -> None:
    seen = {fingerprint(str(log), None), fingerprint(str(log), "kuairand_pure")}
    (tmp_path / "schema.yaml").write_text("version: 1")
    seen.add(fingerprint(str(log), str(tmp_path / "schema.yaml")))
    (tmp_path / "schema.yaml").write_text("version: 2")
    seen.add(fingerprint(str(log), str(tmp_path / "schema.yaml")))
    (log / "rows.parquet").write_bytes(b"more rows")
    seen.add(fingerprint(str(log), None))
    (log / "users.parquet").write_bytes(b"users")
    seen.add(fingerprint(str(log), None))
    assert len(seen) == 6


def test_a_log_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        fingerprint(str(tmp_path / "nowhere"), None)


def test_an_s3_endpoint_that_is_down_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    with pytest.raises(Fault, match="cannot be read"):
        fingerprint("s3://bucket/log", None)
