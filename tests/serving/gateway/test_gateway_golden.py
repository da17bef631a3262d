"""What is rendered is what was looked at, and Envoy takes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.gateway.envoy import validate
from serving.gateway.golden import CASES, FOLDER, files


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(FOLDER)))
def test_rendered_files_are_the_committed_ones(path: Path) -> None:
    assert files()[path] == path.read_text(encoding="utf-8"), "run `make golden` and look at the difference"


@pytest.mark.parametrize("case", CASES)
def test_envoy_itself_takes_them(case: str) -> None:
    validate(*CASES[case])
