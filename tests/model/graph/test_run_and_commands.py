"""From a log artifact to a graph artifact, and what a person sees of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from typer.testing import CliRunner

from model.artifact.manifest import Manifest, verify
from model.artifact.writer import ArtifactWriter
from model.data.artifact import write_dataset
from model.data.synthetic import Layout, write_synthetic
from model.data.synthetic_config import SyntheticConfig
from model.errors import UserError
from model.graph.artifact import read_graph
from model.graph.build import build
from model.graph.commands import app, read_config
from model.graph.config import GraphConfig
from model.graph.run import build_graph, stream_graph
from tests.model.graph.equality import graph_differences
from tests.model.graph.logs import random_log

Item = TypeVar("Item")
Result = TypeVar("Result")
CONFIG = GraphConfig(user_groups=6, item_groups=5, svd_rank=8)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("log") / "log"
    with ArtifactWriter(out, "log", "test") as writer:
        write_dataset(random_log(), writer.path)
    return out


def built(log: Path, out: Path, config: GraphConfig = CONFIG) -> Manifest:
    return build_graph(log, out, config)


@dataclass(frozen=True)
class ElsewhereCrew:
    """Works as in a process whose folder is another one."""

    folder: Path
    count: int = 1
    elsewhere: bool = True

    def in_order(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        for item in items:
            with contextlib.chdir(self.folder):
                result = work(item)
            yield result


def test_a_log_named_from_the_folder_of_the_caller_is_read_by_workers_of_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_synthetic(tmp_path / "log", SyntheticConfig(rows=3_000, users=200, items=50), Layout(parts=2, bare=True))
    config = GraphConfig(user_groups=4, item_groups=4, features="folded", fold_users=100, fold_items=40)
    whole = stream_graph(str(tmp_path / "log"), tmp_path / "whole", config)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    assert stream_graph("log", Path("graph"), config, crew=ElsewhereCrew(tmp_path / "other")) == whole


def test_a_log_artifact_becomes_a_whole_graph_artifact_that_names_it(log: Path, tmp_path: Path) -> None:
    manifest = built(log, tmp_path / "graph")
    graph = read_graph(tmp_path / "graph")
    assert verify(tmp_path / "graph") == manifest
    assert manifest.made_from == (verify(log).source(),)
    assert manifest.facts["version"] == graph.version
    expected = build(random_log(), CONFIG, verify(log).digest)
    assert graph_differences(expected, graph, ignore=()) == []


def test_the_same_log_and_options_give_the_same_digest_whatever_the_shards(log: Path, tmp_path: Path) -> None:
    first = built(log, tmp_path / "a")
    again = built(log, tmp_path / "b")
    assert first.digest == again.digest
    sharded = built(log, tmp_path / "c", CONFIG.model_copy(update={"shards": 4}))
    same = {name for name, digest in first.files.items() if sharded.files[name] == digest}
    assert set(first.files) - same == {"graph.json"}  # it states the options


def test_a_graph_is_not_a_log(log: Path, tmp_path: Path) -> None:
    built(log, tmp_path / "graph")
    with pytest.raises(UserError, match="a macro-graph artifact, where a log is needed"):
        build_graph(tmp_path / "graph", tmp_path / "other", CONFIG)
    assert not (tmp_path / "other").exists()


def test_build_and_show_work_from_the_command_line(log: Path, tmp_path: Path) -> None:
    runner = CliRunner(env={"COLUMNS": "120"})
    options = ["--set", "user_groups=6", "--set", "item_groups=5", "--set", "snapshots=daily"]
    result = runner.invoke(app, ["build", "--log", str(log), "--out", str(tmp_path / "a"), *options])
    assert result.exit_code == 0, result.output
    assert "6 snapshots" in result.output
    other = ["build", "--log", str(log), "--out", str(tmp_path / "b"), *options, "--set", "seed=1"]
    assert runner.invoke(app, other).exit_code == 0
    shown = runner.invoke(app, ["show", str(tmp_path / "a"), "--against", str(tmp_path / "b"), "--edges", "3"])
    assert shown.exit_code == 0, shown.output
    version = read_graph(tmp_path / "a").version
    for expected in (
        f"Macro graph {version}",
        "Sizes of user groups",
        "Heaviest macro edges",
        "Churn against",
        "moved",
    ):
        assert expected in shown.output


def test_options_come_from_yaml_and_flags_and_flags_win(tmp_path: Path) -> None:
    file = tmp_path / "graph.yaml"
    file.write_text("beta: 0.5\nuser_groups: 7\n")
    assert read_config(file, ["beta=-1"]) == GraphConfig(beta=-1, user_groups=7)
    assert read_config(None, []) == GraphConfig()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("beta", "--set beta: needs the form name=value"),
        ("bata=1", "graph option bata: unknown field (got 1)"),
        ("top_k=0", "graph option top_k: Input should be greater than or equal to 1 (got 0)"),
        ("rank=sum", "graph option rank: Input should be 'additive', 'binary' or 'union' (got 'sum')"),
        ("beta=[", "no YAML of option names and values"),
    ],
)
def test_a_wrong_option_is_named_with_its_value_and_what_would_be_right(option: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_config(None, [option])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_options_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.yaml: cannot be read"):
        read_config(tmp_path / "absent.yaml", [])
