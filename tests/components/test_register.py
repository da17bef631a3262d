from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.register import work
from model.registry import run as registration
from model.registry.gate import GateRefused


def test_a_refusal_is_told_in_one_line_with_an_exit_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise GateRefused("candidate mgoe is not registered: too weak")

    monkeypatch.setattr(registration, "register", refuse)
    monkeypatch.setattr(work, "folder_of", lambda artifact, kind: Path(kind))
    artifact = SimpleNamespace(metadata={})
    with pytest.raises(SystemExit) as end:
        work.run(artifact, artifact, (artifact, artifact), artifact, recipe="synthetic", registry="r", run=None)
    assert end.value.code == 3
    assert capsys.readouterr().err == "register: candidate mgoe is not registered: too weak\n"
