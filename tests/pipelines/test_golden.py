from pathlib import Path

import pytest

from pipelines.golden import FILES, ROOT


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_rendered_is_what_is_committed(path: Path) -> None:
    assert FILES[path]() == path.read_text(), "run `python -m pipelines.golden` and look at the difference"
