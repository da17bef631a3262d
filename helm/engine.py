"""The Helm engine in a process of its own: it is a Go library, which takes signals and threads for itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

CHART = Path(__file__).parent / "mgoe"


class ChartError(Exception):
    """The engine refuses chart or values; the message is its own."""


class Engine:
    """A context; each question is one line of JSON to the process, each answer one back."""

    def __init__(self, chart: Path = CHART) -> None:
        self._chart = chart
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Engine:
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, str(Path(__file__).resolve()), str(self._chart)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it says there that it follows symbolic links
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None  # noqa: S101
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.close()
        self._process.wait()

    def render(self, values: Mapping[str, Any], name: str = "mgoe", namespace: str = "ranking") -> dict[str, str]:
        """Rendered templates by their path below templates/. Raises ChartError."""
        found = self._ask({"do": "render", "values": dict(values), "name": name, "namespace": namespace})
        return {path.partition("/templates/")[2]: text for path, text in sorted(found.items())}

    def lint(self, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What `helm lint --strict` says. Raises ChartError."""
        found: list[dict[str, Any]] = self._ask({"do": "lint", "values": dict(values)})["messages"]
        return found

    def package(self, folder: Path) -> Path:
        """The chart's archive. Raises ChartError."""
        return Path(self._ask({"do": "package", "folder": str(folder)}))

    def _ask(self, question: dict[str, Any]) -> Any:
        assert self._process is not None  # noqa: S101
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise ChartError("the Helm engine ended")
        answer = json.loads(line)
        if "error" in answer:
            raise ChartError(answer["error"])
        return answer["answer"]


def _answer(chart: str) -> None:
    import helm_python as helm  # noqa: PLC0415

    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if asked["do"] == "lint":
                answer: Any = helm.lint(chart, asked["values"], strict=True, quiet=False)
            elif asked["do"] == "package":
                answer = helm.package(chart, destination=asked["folder"])
            else:
                with helm.Chart.load(chart) as loaded:
                    answer = loaded.render(asked["values"], name=asked["name"], namespace=asked["namespace"])
            said: dict[str, Any] = {"answer": answer}
        except helm.HelmError as error:
            said = {"error": str(error)}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _answer(sys.argv[1])
