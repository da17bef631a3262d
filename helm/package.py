"""`python -m helm.package FOLDER`: lints the chart and packs it."""

from __future__ import annotations

import sys
from pathlib import Path

from helm.engine import ChartError, Engine
from helm.golden import CASES

_WARNING = 2


def main(folder: Path) -> int:
    """Exit code: 0, or 1 where the engine finds something or refuses."""
    folder.mkdir(parents=True, exist_ok=True)
    with Engine() as engine:
        try:
            said = [each for values in CASES.values() for each in engine.lint(values) if each["severity"] >= _WARNING]
            for each in said:
                sys.stderr.write(f"{each['path']}: {each['error']}\n")
            if not said:
                sys.stdout.write(f"{engine.package(folder)}\n")
        except ChartError as error:
            sys.stderr.write(f"chart: {error}\n")
            return 1
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
