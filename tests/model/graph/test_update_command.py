"""`mgoe graph update` on logs that lie on disk."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from model.artifact.manifest import verify
from model.artifact.writer import ArtifactWriter
from model.data.artifact import write_dataset
from model.data.ingest import ingest
from model.data.synthetic import Layout, write_synthetic
from model.data.synthetic_config import SyntheticConfig
from model.errors import UserError
from model.graph.artifact import read_graph
from model.graph.commands import app
from model.graph.config import GraphConfig
from model.graph.run import align_graph, build_graph, stream_graph, update_graph
from model.graph.update import UpdateOptions
from tests.model.graph.equality import graph_differences, same_snapshot
from tests.model.graph.logs import random_log

CONFIG = GraphConfig(
    user_groups=8, item_groups=6, svd_rank=4, top_k=5, features="folded", fold_users=200, fold_items=90
)
DAILY = CONFIG.model_copy(update={"snapshots": "daily"})
TENTH = datetime(2024, 1, 10)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dense") / "log"
    write_synthetic(folder, SyntheticConfig(rows=6_000, users=500, items=120, seed=3), Layout(parts=3, bare=True))
    return folder


def part(log: Path, to: Path, first: datetime, end: datetime) -> Path:
    """The log's rows from a moment up to another."""
    (to / "interactions").mkdir(parents=True)
    shutil.copy(log / "schema.yaml", to)
    moments = [int(moment.replace(tzinfo=UTC).timestamp() * 1000) for moment in (first, end)]
    rows = pl.read_parquet(log / "interactions" / "*.parquet")
    inside = rows.filter(pl.col("time_ms").is_between(moments[0], moments[1], closed="left"))
    inside.write_parquet(to / "interactions" / "part.parquet")
    return to


@pytest.fixture(scope="module")
def days(log: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A log up to a moment, a graph of it that can be updated, and the rows since that graph's last midnight."""
    folder = tmp_path_factory.mktemp("days")
    parts = {
        "old": part(log, folder / "old", datetime(2024, 1, 1), datetime(2024, 1, 9, 12)),
        "day": part(log, folder / "day", datetime(2024, 1, 9), TENTH),
        "graph": folder / "graph",
    }
    stream_graph(str(parts["old"]), parts["graph"], DAILY, updatable=True)
    return parts


def test_a_day_is_added_from_the_command_line_and_the_graph_goes_on_from_there(
    days: dict[str, Path], log: Path, tmp_path: Path
) -> None:
    runner = CliRunner(env={"COLUMNS": "140"})
    first = runner.invoke(
        app, ["update", str(days["graph"]), "--log", str(days["day"]), "--out", str(tmp_path / "a"), "--threads", "2"]
    )
    assert first.exit_code == 0, first.output
    assert "10 snapshots" in first.output
    manifest, graph = verify(tmp_path / "a"), read_graph(tmp_path / "a")
    assert manifest.made_from == (verify(days["graph"]).source(),)
    assert manifest.facts["last_moment"] == manifest.facts["two_hop_as_of"] == graph.snapshots[-1].as_of
    next_day = part(log, tmp_path / "next", TENTH, datetime(2024, 1, 11))
    second = runner.invoke(
        app, ["update", str(tmp_path / "a"), "--log", str(next_day), "--out", str(tmp_path / "b"), "--two-hop", "later"]
    )
    assert second.exit_code == 0, second.output
    facts = verify(tmp_path / "b").facts
    assert facts["two_hop_as_of"] == graph.snapshots[-1].as_of < int(str(facts["last_moment"]))
    assert facts["old_two_hops"] == {str(facts["last_moment"]): facts["two_hop_as_of"]}
    assert same_snapshot(read_graph(tmp_path / "b").snapshots[-2], graph.snapshots[-1])


def test_the_manifest_says_which_snapshots_keep_an_old_second_hop_also_after_an_exact_day(
    days: dict[str, Path], log: Path, tmp_path: Path
) -> None:
    first = int(str(verify(days["graph"]).facts["last_moment"]))
    later = update_graph(days["graph"], str(days["day"]), tmp_path / "a", UpdateOptions("later")).facts
    second = int(str(later["last_moment"]))
    for name, options, old in (
        ("later", UpdateOptions("later"), {str(second): first, "last": first}),
        ("exact", UpdateOptions(), {str(second): first}),
        ("fresh", UpdateOptions(keep=0), {}),
    ):
        next_day = part(log, tmp_path / f"next-{name}", TENTH, datetime(2024, 1, 11))
        facts = update_graph(tmp_path / "a", str(next_day), tmp_path / name, options).facts
        last = str(facts["last_moment"])
        assert facts["old_two_hops"] == {moment.replace("last", last): of for moment, of in old.items()}
        assert facts["two_hop_as_of"] == old.get("last", int(last))


def test_regrouping_says_how_many_changed_their_group_and_the_manifest_keeps_it(
    days: dict[str, Path], tmp_path: Path
) -> None:
    arguments = ["update", str(days["graph"]), "--log", str(days["day"]), "--out", str(tmp_path / "a"), "--regroup"]
    said = CliRunner(env={"COLUMNS": "140"}).invoke(app, arguments)
    assert said.exit_code == 0, said.output
    for side in ("user", "item"):
        churn = verify(tmp_path / "a").facts[f"{side}_churn"]
        assert isinstance(churn, dict)
        assert (
            f"{side}s that changed their group: {churn['share']:.1%}, by weight {churn['weighted']:.1%}" in said.output
        )


def test_an_updated_graph_is_aligned_to_an_ingested_log_without_its_pairs(
    days: dict[str, Path], log: Path, tmp_path: Path
) -> None:
    update_graph(days["graph"], str(days["day"]), tmp_path / "updated", UpdateOptions())
    ingest(str(log), tmp_path / "log")
    align_graph(tmp_path / "updated", tmp_path / "log", tmp_path / "aligned")
    assert len(read_graph(tmp_path / "aligned").snapshots) == 10
    assert (tmp_path / "updated" / "pairs" / "user" / "other.npy").is_file()
    assert not (tmp_path / "aligned" / "pairs").exists()


def test_a_graph_without_pairs_or_of_a_log_artifact_is_refused(days: dict[str, Path], tmp_path: Path) -> None:
    stream_graph(str(days["old"]), tmp_path / "plain", CONFIG)
    with pytest.raises(UserError, match="keeps no pairs to go on from; stream the log with --updatable"):
        update_graph(tmp_path / "plain", str(days["day"]), tmp_path / "out", UpdateOptions())
    with ArtifactWriter(tmp_path / "log", "log", "test") as writer:
        write_dataset(random_log(), writer.path)
    build_graph(tmp_path / "log", tmp_path / "built", GraphConfig(user_groups=4, item_groups=4, svd_rank=4))
    for folder in ("built", "log"):
        with pytest.raises(UserError, match="no graph that `mgoe graph stream` made"):
            update_graph(tmp_path / folder, str(days["day"]), tmp_path / "out", UpdateOptions())
    assert not (tmp_path / "out").exists()


def test_a_day_that_is_inside_already_leaves_nothing_behind(days: dict[str, Path], tmp_path: Path) -> None:
    update_graph(days["graph"], str(days["day"]), tmp_path / "once", UpdateOptions(keep=1))
    assert len(read_graph(tmp_path / "once").snapshots) == 2
    with pytest.raises(UserError, match=r"the graph holds all before .* already"):
        update_graph(tmp_path / "once", str(days["day"]), tmp_path / "twice", UpdateOptions())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["once"]


def test_rows_that_are_inside_already_may_be_left_out(days: dict[str, Path], log: Path, tmp_path: Path) -> None:
    update_graph(days["graph"], str(days["day"]), tmp_path / "a", UpdateOptions())
    both = part(log, tmp_path / "both", datetime(2024, 1, 1), TENTH)
    arguments = ["update", str(days["graph"]), "--log", str(both), "--out", str(tmp_path / "b"), "--skip-inside"]
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == 0, said.output
    left, right = (read_graph(tmp_path / name) for name in ("a", "b"))
    assert graph_differences(left, right) == []
    early = part(log, tmp_path / "early", datetime(2024, 1, 1), datetime(2024, 1, 5))
    with pytest.raises(UserError, match=r"no row at or after .*, before which all is inside"):
        update_graph(days["graph"], str(early), tmp_path / "c", UpdateOptions(), skip_inside=True)


def test_a_graph_that_would_stand_for_rows_which_its_log_does_not_have_yet_is_not_updatable(
    days: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="ends before its split's validate_from"):
        stream_graph(str(days["old"]), tmp_path / "graph", CONFIG, updatable=True)
    assert not (tmp_path / "graph").exists()


def test_a_day_that_leaves_out_rows_after_the_graphs_last_moment_is_refused(
    days: dict[str, Path], log: Path, tmp_path: Path
) -> None:
    next_day = part(log, tmp_path / "next", TENTH, datetime(2024, 1, 11))
    with pytest.raises(UserError, match="add those up to"):
        update_graph(days["graph"], str(next_day), tmp_path / "out", UpdateOptions())


@pytest.mark.parametrize("skip_inside", [False, True])
def test_the_rest_of_a_day_that_was_added_before_it_was_over_is_refused_and_never_left_out(
    skip_inside: bool, days: dict[str, Path], log: Path, tmp_path: Path
) -> None:
    noon = datetime(2024, 1, 9, 12)
    half = part(log, tmp_path / "half", datetime(2024, 1, 9), noon)
    update_graph(days["graph"], str(half), tmp_path / "a", UpdateOptions())
    rest = part(log, tmp_path / "rest", noon, datetime(2024, 1, 11))
    with pytest.raises(UserError, match=r"was added up to .* alone: add the whole day to the graph before it"):
        update_graph(tmp_path / "a", str(rest), tmp_path / "b", UpdateOptions(), skip_inside=skip_inside)
    with pytest.raises(UserError, match="already; --skip-inside leaves such rows out"):
        update_graph(tmp_path / "a", str(half), tmp_path / "b", UpdateOptions())


def test_the_manifest_counts_the_rows_that_were_added(days: dict[str, Path], log: Path, tmp_path: Path) -> None:
    both = part(log, tmp_path / "both", datetime(2024, 1, 1), TENTH)
    made = update_graph(days["graph"], str(both), tmp_path / "a", UpdateOptions(), skip_inside=True)
    assert made.facts["added_rows"] == pl.scan_parquet(days["day"] / "interactions").select(pl.len()).collect().item()


def test_a_graph_with_neighbour_means_cannot_be_asked_to_be_updatable(days: dict[str, Path], tmp_path: Path) -> None:
    means = DAILY.model_copy(update={"neighbour_means": True})
    with pytest.raises(UserError, match="--updatable: a graph with neighbour means is not updated"):
        stream_graph(str(tmp_path / "not read"), tmp_path / "graph", means, updatable=True)
    assert not (tmp_path / "graph").exists()


@pytest.mark.parametrize("damage", ["state", "array"])
def test_a_damaged_state_is_one_line(damage: str, days: dict[str, Path], tmp_path: Path) -> None:
    stream_graph(str(days["old"]), tmp_path / "graph", DAILY, updatable=True)
    path = tmp_path / "graph" / "pairs" / ("state.json" if damage == "state" else "user/other.npy")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=r"stream the log again|build the graph again"):
        update_graph(tmp_path / "graph", str(days["day"]), tmp_path / "out", UpdateOptions())


def test_the_plain_counts_of_the_state_are_those_of_the_log(days: dict[str, Path]) -> None:
    exposure = np.load(days["graph"] / "pairs" / "user" / "exposure.npy")
    last = read_graph(days["graph"]).snapshots[-1]
    np.testing.assert_allclose(np.log1p(exposure), last.user.log_exposure, rtol=1e-6)
    assert exposure.sum() > 0
