"""A skip for want of what must be there is a failure."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins.requirement import NEEDS, VARIABLE, forbidden, required

TESTS = Path(__file__).parents[1]
PROGRAM = """
import pytest

def test_java():
    pytest.skip("TorchServe needs Java 17")

def test_crds():
    pytest.skip("MGOE_CRDS names no folder")
"""
MODULE = """
import pytest
pytest.importorskip("no_such_module", reason="model-signing is not installed")
"""


def run(folder: Path, names: str) -> str:
    (folder / "test_skips.py").write_text(PROGRAM)
    (folder / "test_module.py").write_text(MODULE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.plugins.requirement", "--rootdir", str(folder)]
    environment = {**os.environ, VARIABLE: names, "PYTHONPATH": str(TESTS.parent)}
    done = subprocess.run(
        [*command, str(folder)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("names", "outcome"),
    [("", "3 skipped"), ("java", "1 failed, 2 skipped"), ("signing", "1 error"), ("kubectl", "3 skipped")],
)
def test_what_must_be_there_fails_where_it_is_absent(names: str, outcome: str, tmp_path: Path) -> None:
    assert outcome in run(tmp_path, names)


def test_an_unknown_name_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    assert "names 'jawa'; write all, or some of" in run(tmp_path, "jawa")


@pytest.mark.parametrize("name", ["java", "torchserve", "postgres", "s3", "promtool", "signing", "bench", "setpriv"])
def test_make_requires_what_it_installs(name: str) -> None:
    makefile = (TESTS.parent / "Makefile").read_text()
    named = re.search(r"^REQUIRED := (.*)$", makefile, re.MULTILINE)
    assert named is not None
    assert name in required(named[1])


def test_a_reason_that_nobody_thought_of_is_no_excuse() -> None:
    assert forbidden("the moon is full", required("java"))
    assert not forbidden("the moon is full", required(""))


def test_every_skip_of_these_tests_says_what_is_wanting() -> None:
    reasons = list(skips())
    assert len(reasons) > 20
    assert [each for each in reasons if not any(re.search(words, each[1]) for words in NEEDS.values())] == []


def skips() -> Iterator[tuple[str, str]]:
    """Where a test may be skipped, and the source of its reason."""
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or path == Path(__file__):
                continue
            called = ast.unparse(node.func)
            reason = {each.arg: each.value for each in node.keywords}.get("reason")
            if called == "pytest.skip":
                reason = node.args[0]
                if ast.unparse(reason) == "absent":
                    continue  # benchmarks.evidence.postgres.missing() words it
            elif called not in {"pytest.importorskip", "pytest.mark.skipif"}:
                continue
            yield f"{path.relative_to(TESTS)}:{node.lineno}", "" if reason is None else ast.unparse(reason)
