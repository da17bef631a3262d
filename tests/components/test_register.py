from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.register import work
from model.registry import mlflow_registry
from model.registry import run as registration
from model.registry.gate import GateRefused


def test_a_refusal_says_which_version_the_baseline_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise GateRefused("candidate mgoe is not registered: too weak")

    registry = SimpleNamespace(by_alias=lambda name, alias: 4 if (name, alias) == ("mgoe", "baseline") else None)
    monkeypatch.setattr(registration, "register", refuse)
    monkeypatch.setattr(mlflow_registry, "MlflowRegistry", lambda uri: registry)
    monkeypatch.setattr(work, "folder_of", lambda artifact, kind: Path(kind))
    artifact = SimpleNamespace(metadata={})
    with pytest.raises(SystemExit) as end:
        work.run(artifact, artifact, (artifact, artifact), artifact, recipe="synthetic", registry="r", run=None)
    assert end.value.code == 3
    assert (
        capsys.readouterr().err
        == "register: baseline registered as version 4; candidate mgoe is not registered: too weak\n"
    )
