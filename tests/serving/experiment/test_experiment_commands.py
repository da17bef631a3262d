"""`mgoe experiment`: where it writes."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model.errors import Fault
from serving.experiment.commands import app
from tests.serving.experiment.trials import design, evidence, simulate

RUN = CliRunner()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evidence") / "evidence.json"
    path.write_text(json.dumps(evidence(simulate(users=2_000, days=1), design()).to_json()))
    return path


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_a_pipe_is_written_to_and_stays_one(file: Path, tmp_path: Path, option: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    assert RUN.invoke(app, ["report", str(file), option, str(pipe)]).exit_code == 0
    reader.join(20)
    assert pipe.is_fifo()
    assert "home feed, MGOE" in read[0]


def test_a_link_stays_one_and_its_file_is_replaced(file: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, linked = tmp_path / "link.json", tmp_path / "there" / "figures.json"
    link.symlink_to(linked)
    assert RUN.invoke(app, ["report", str(file), "--json", str(link)]).exit_code == 0
    assert link.is_symlink()
    assert json.loads(linked.read_text())["experiment"] == "home feed, MGOE"


def test_what_cannot_be_written_leaves_what_was_there_and_nothing_beside(file: Path, tmp_path: Path) -> None:
    place = tmp_path / ("r" * 250 + ".json")
    place.write_text("earlier")
    error = RUN.invoke(app, ["report", str(file), "--json", str(place)]).exception
    assert isinstance(error, Fault)
    assert "File name too long" in str(error)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier"]
    folder = RUN.invoke(app, ["report", str(file), "--json", str(tmp_path)]).exception
    assert isinstance(folder, Fault)
    assert "Is a directory" in str(folder)
