"""`mgoe serve`: wrong flags are one line, before anything heavy is loaded."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from model.errors import Fault, UserError
from serving.ranker.commands import app
from serving.ranker.ranker import Ranker
from serving.ranker.refusal import NotReady
from serving.ranker.settings import RankerSettings

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--arm", "a b"),
        ("--arm", "x\r\nset-cookie: y"),
        ("--arm", ""),
        ("--name", "a/b"),
        ("--scorers", "eager,joy"),
        ("--signer", "maker"),
    ],
)
def test_a_wrong_value_names_its_option(option: str, value: str) -> None:
    result = CliRunner().invoke(app, ["serve", "--bundle", "/nowhere", option, value])
    assert isinstance(result.exception, UserError)
    assert option in str(result.exception)


@pytest.mark.parametrize("taken_is", ["--http-port", "--grpc-port"])
def test_a_port_in_use_is_told_before_anything_heavy_is_imported(taken_is: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        other = "--grpc-port" if taken_is == "--http-port" else "--http-port"
        program = (
            "import sys, mgoe\n"
            "try: mgoe.main()\n"
            "finally: print(sorted({'torch', 'kserve', 'grpc', 'numpy'} & sys.modules.keys()))"
        )
        options = ["serve", "--bundle", "/nowhere", taken_is, port, other, "0"]
        done = subprocess.run(
            [sys.executable, "-c", program, *options], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert (done.returncode, done.stdout) == (1, "[]\n"), done.stderr
    assert done.stderr == (
        f"mgoe: cannot listen on 127.0.0.1 port {port}: Address already in use; choose another address or port\n"
    )


def test_both_ports_are_not_one() -> None:
    result = CliRunner().invoke(app, ["serve", "--bundle", "/nowhere", "--http-port", "9", "--grpc-port", "9"])
    assert isinstance(result.exception, UserError)
    assert "--grpc-port 9 is --http-port" in str(result.exception)


def test_no_option_is_one_that_kserve_would_read_from_the_same_command_line() -> None:
    # kserve parses sys.argv while it is imported, and ends the process where a value is not to its liking.
    from kserve import model_server  # type: ignore[import-untyped]
    from typer.main import get_command

    group: Any = get_command(app)
    serve = group.commands["serve"]
    theirs = set(model_server.parser._option_string_actions)
    ours = {option for parameter in serve.params for option in parameter.opts}
    assert [(our, their) for our in ours for their in theirs if their.startswith(our)] == []


def test_what_is_prepared_is_there_when_the_server_loads(bundles: dict[str, Path], tmp_path: Path) -> None:
    options = ["prepare", "--bundle", str(bundles["mmoe"]), "--cache", str(tmp_path), "--scorers", "factorised,onnx"]
    result = CliRunner().invoke(app, [*options, "--all"])
    assert result.exit_code == 0, result.output
    assert "is ready in" in result.output
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    Ranker.load(bundles["mmoe"], RankerSettings(cache=tmp_path, scorers=("factorised", "onnx")))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == made


def test_what_cannot_be_prepared_is_said_and_with_all_an_error(bundles: dict[str, Path], tmp_path: Path) -> None:
    options = ["prepare", "--bundle", str(bundles["mmoe"]), "--cache", str(tmp_path), "--scorers", "factorised,aoti"]
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}):
        result = CliRunner().invoke(app, options)
        strict = CliRunner().invoke(app, [*options, "--all"])
    assert result.exit_code == 0, result.output
    assert "aoti is left out: it cannot be made here: there is no C++ compiler" in result.output
    assert isinstance(strict.exception, Fault)


def test_a_bundle_that_is_not_there_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    options = ["prepare", "--bundle", str(tmp_path / "absent"), "--cache", str(tmp_path), "--scorers", "factorised"]
    result = CliRunner().invoke(app, options)
    assert isinstance(result.exception, NotReady)
    assert (result.exception.exit_code, "no such folder" in str(result.exception)) == (2, True)
