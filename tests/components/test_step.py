from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.artifacts import folder_of
from components.events import EVENTS_VARIABLE, Event, read_events
from components.shelf import SHELF_VARIABLE
from components.step import step
from model.artifact.manifest import Manifest
from model.artifact.writer import ArtifactWriter
from model.errors import Fault, UserError


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "events.jsonl"
    monkeypatch.setenv(EVENTS_VARIABLE, str(path))
    monkeypatch.setenv(SHELF_VARIABLE, str(tmp_path / "shelf"))
    return path


def artifact(path: Path) -> Any:
    return SimpleNamespace(name="model", path=str(path), metadata={})


def make(out: Path) -> Manifest:
    with ArtifactWriter(out, "model", made_by="test") as writer:
        (writer.path / "weights").write_text("w")
        writer.facts.update(rows=3, auc=0.75, hopeless=float("nan"))
    return writer.manifest


def never(out: Path) -> Manifest:
    raise AssertionError(f"made again at {out}")


def produce(output: Any, work: Any = make, store: str | None = None, **options: object) -> None:
    with step("train baseline", store) as this:
        this.produce(output, entry="model.errors", inputs={"raw": "digest"}, options=options, make=work)


def last(path: Path) -> Event:
    return list(read_events(path))[-1]


def test_a_step_makes_its_artifact_once_and_reuses_it_then(events: Path, tmp_path: Path) -> None:
    first, second = artifact(tmp_path / "a"), artifact(tmp_path / "b")
    produce(first)
    assert last(events).state == "made"
    produce(second, never)
    assert last(events).state == "reused"
    assert first.path == second.path
    assert (Path(second.path) / "weights").read_text() == "w"


def test_another_option_makes_another_artifact(events: Path, tmp_path: Path) -> None:
    first, second = artifact(tmp_path / "a"), artifact(tmp_path / "b")
    produce(first, seed=1)
    produce(second, seed=2)
    assert last(events).state == "made"
    assert first.path != second.path


def test_a_damaged_artifact_is_made_again(events: Path, tmp_path: Path) -> None:
    output = artifact(tmp_path / "a")
    produce(output)
    (Path(output.path) / "weights").write_text("broken")
    produce(output)
    assert last(events).state == "made"
    assert (Path(output.path) / "weights").read_text() == "w"


def test_a_fresh_machine_with_the_same_store_reuses_the_artifact(
    events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    produce(artifact(tmp_path / "a"), store=str(tmp_path / "store"))
    monkeypatch.setenv(SHELF_VARIABLE, str(tmp_path / "fresh"))
    produce(artifact(tmp_path / "b"), never, store=str(tmp_path / "store"))
    assert last(events).state == "reused"


def test_the_artifact_carries_digest_and_finite_facts_as_metadata(events: Path, tmp_path: Path) -> None:
    output = artifact(tmp_path / "a")
    produce(output)
    assert output.metadata["rows"] == 3
    assert len(output.metadata["digest"]) == 64
    assert "hopeless" not in output.metadata


@pytest.mark.parametrize(("error", "code"), [(UserError("column x is missing"), 2), (Fault("disk is full"), 1)])
def test_an_error_ends_the_process_with_its_code_and_one_line(
    events: Path, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    with pytest.raises(SystemExit) as ended, step("ingest"):
        raise error
    assert ended.value.code == code
    assert capsys.readouterr().err == f"ingest: {error}\n"
    assert (last(events).state, last(events).message, last(events).exit_code) == ("failed", str(error), code)


def test_a_bug_keeps_its_traceback_and_is_told_in_one_line(events: Path) -> None:
    with pytest.raises(ZeroDivisionError), step("ingest"):
        _ = 1 / 0
    assert last(events).message == "ZeroDivisionError: division by zero"


def test_an_input_of_another_kind_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "m")
    with pytest.raises(UserError, match="model artifact; this step reads a log"):
        folder_of(artifact(tmp_path / "m"), "log")
