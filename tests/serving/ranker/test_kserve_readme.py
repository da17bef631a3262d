"""The README's Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

from serving.ranker import settings

README = Path(settings.__file__).with_name("README.md")


def test_the_examples_in_the_readme_run(bundles: dict[str, Path], quick: settings.RankerSettings) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, object] = {"bundle": bundles["mgoe"], "quick": quick}
    for block in blocks:
        # Settings that compile nothing and leave the user's cache alone.
        exec(block.replace('RankerSettings(arm="candidate")', "quick"), names)  # noqa: S102  # our own text
