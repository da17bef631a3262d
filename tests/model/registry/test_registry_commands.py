from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from model.errors import UserError
from model.registry.commands import app
from model.registry.gate import GateRefused

Mgoe = Callable[..., str]


@pytest.fixture
def mgoe_registry(tracking_uri: str, monkeypatch: pytest.MonkeyPatch) -> Mgoe:
    """Runs `mgoe registry ...` on an empty registry and returns what it prints; errors rise."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("MGOE_REGISTRY", tracking_uri)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def register(mgoe_registry: Mgoe, pair: Any, *more: str) -> str:
    folders = {"--baseline": pair.baseline, "--candidate": pair.candidate, "--comparison": pair.comparison}
    return mgoe_registry("register", *(str(part) for pair in folders.items() for part in pair), *more)


def test_a_registered_pair_is_listed_with_aliases_and_digests(mgoe_registry: Mgoe, pair: Any) -> None:
    assert "holds no versions yet" in mgoe_registry("list")
    register(mgoe_registry, pair)
    listed = [line for line in mgoe_registry("list").splitlines() if " mgoe " in line]
    assert len(listed) == 2
    for line, alias, manifest in zip(listed, ("baseline", "candidate"), pair.manifests, strict=True):
        assert alias in line
        assert manifest.digest[:12] in line


def test_a_version_is_shown_by_number_and_by_alias(mgoe_registry: Mgoe, pair: Any) -> None:
    register(mgoe_registry, pair, "--run", "run-42")
    shown = mgoe_registry("show", "candidate")
    assert shown == mgoe_registry("show", "2")
    for expected in (pair.manifests[1].digest, "run-candidate", "graph-7", "log-digest", "run-42"):
        assert expected in shown


def test_what_is_not_there_is_named(mgoe_registry: Mgoe, pair: Any) -> None:
    register(mgoe_registry, pair)
    with pytest.raises(UserError, match="model 'mgoe' has no version with the alias 'champion'"):
        mgoe_registry("show", "champion")
    with pytest.raises(UserError, match="has no version 9"):
        mgoe_registry("show", "9")


def test_an_alias_is_moved_back(mgoe_registry: Mgoe, make_pair: Callable[..., Any]) -> None:
    for weights in ("first", "second"):
        register(mgoe_registry, make_pair(candidate=weights))
    assert "candidate of mgoe is version 2 again" in mgoe_registry("rollback", "candidate")
    assert "version 2" in mgoe_registry("show", "candidate")


def test_the_gate_is_read_from_a_file(mgoe_registry: Mgoe, pair: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate.yaml"
    gate.write_text("min_mean_auc_lift: 0.5\n")
    with pytest.raises(GateRefused, match="mean AUC lift"):
        register(mgoe_registry, pair, "--gate", str(gate))
    gate.write_text("max_ece: 7\n")
    with pytest.raises(UserError, match=r"gate .*gate\.yaml: max_ece = 7: .*less than or equal to 1"):
        register(mgoe_registry, pair, "--gate", str(gate))
    with pytest.raises(UserError, match=r"gate .*absent\.yaml cannot be read: No such file"):
        register(mgoe_registry, pair, "--gate", str(tmp_path / "absent.yaml"))


def test_reading_a_registry_that_is_not_there_does_not_make_one(mgoe_registry: Mgoe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file .*other\.db; name one with --registry"):
        mgoe_registry("list", "--registry", f"sqlite:///{tmp_path}/other.db")
    assert not (tmp_path / "other.db").exists()
