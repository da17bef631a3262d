"""The process that compiles: where its code comes from, and that it does not outlive its server."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from serving.ranker import aside
from serving.ranker.ranker import Ranker
from serving.ranker.settings import RankerSettings


def test_the_working_folder_is_not_where_the_code_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving" / "__init__.py").write_text("raise SystemExit('code of the working folder')")
    monkeypatch.chdir(tmp_path)
    assert aside.compile_aside(tmp_path / "absent", RankerSettings(cache=tmp_path / "cache")) == {}
    assert "no such folder" in caplog.text


def test_what_cannot_be_compiled_aside_is_told_with_its_reason(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("PATH", str(tmp_path))
    ranker = Ranker.load(bundles["mmoe"], RankerSettings(cache=tmp_path / "cache", scorers=("factorised", "aoti")))
    assert "no C++ compiler: fill the cache by `mgoe prepare`" in ranker.describe().left_out["aoti"]


def test_what_compiles_ends_with_its_server_and_so_do_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "pid"
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nsleep 300 &\necho $! > {told}.new\nmv {told}.new {told}\nwait\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    thread = threading.Thread(target=aside.compile_aside, args=(Path("bundle"), RankerSettings()))
    thread.start()
    while not told.is_file():
        assert thread.is_alive()
        time.sleep(0.01)
    aside.end_all()
    thread.join(30)
    assert not thread.is_alive()
    state = Path(f"/proc/{int(told.read_text())}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"
