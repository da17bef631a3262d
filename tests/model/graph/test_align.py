"""A streamed graph as the graph of an ingested log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from model.artifact.manifest import read_manifest, verify
from model.data.artifact import read_dataset
from model.data.ingest import ingest
from model.data.schema_file import dump_schema, load_schema
from model.data.synthetic import Layout, write_synthetic
from model.data.synthetic_config import SyntheticConfig
from model.errors import UserError
from model.graph.artifact import read_graph
from model.graph.commands import app
from model.graph.config import GraphConfig
from model.graph.run import align_graph, build_graph, stream_graph
from model.nets.node_store import check_graph_fits
from model.training.inputs import Inputs

CONFIG = GraphConfig(user_groups=8, item_groups=6, svd_rank=4, recent=3, snapshots="daily", neighbour_means=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """raw: a log. log: it, ingested. streamed, aligned: graphs."""
    folder = tmp_path_factory.mktemp("align")
    write_synthetic(folder / "raw", SyntheticConfig(rows=6_000, users=500, items=120), Layout(parts=2, bare=True))
    ingest(str(folder / "raw"), folder / "log")
    stream_graph(str(folder / "raw"), folder / "streamed", CONFIG)
    align_graph(folder / "streamed", folder / "log", folder / "aligned")
    return folder


def test_it_is_the_logs_own_graph_but_for_the_order_that_groups_were_made_in(made: Path) -> None:
    build_graph(made / "log", made / "built", CONFIG)
    aligned, built = read_graph(made / "aligned"), read_graph(made / "built")
    known = read_dataset(made / "log").validate.time[0]
    assert [s.as_of for s in aligned.snapshots] == [s.as_of for s in built.snapshots]
    assert aligned.trainable_from == built.trainable_from
    early = [pair for pair in zip(aligned.snapshots, built.snapshots, strict=True) if pair[0].as_of <= known]
    assert len(early) > 3
    for one, other in early:
        for name in ("log_degree", "log_exposure", "recent", "recent_score", "neighbour_mean"):
            assert np.array_equal(getattr(one.user, name), getattr(other.user, name))
            assert np.array_equal(getattr(one.item, name), getattr(other.item, name))
    assert np.array_equal(aligned.user_group > 0, built.user_group > 0)


def test_a_nodes_row_is_the_streamed_row_of_its_id(made: Path) -> None:
    aligned, streamed = read_graph(made / "aligned"), read_graph(made / "streamed")
    ids = read_dataset(made / "log").users.ids
    rows = np.array([0] + [int(raw) + 1 for raw in ids[1:]])
    assert np.array_equal(aligned.user_group, streamed.user_group[rows])
    assert np.array_equal(aligned.snapshots[-1].user.hop2.macro, streamed.snapshots[-1].user.hop2.macro[rows])


def test_training_reads_it(made: Path) -> None:
    inputs = Inputs.read(made / "log", made / "aligned")
    assert inputs.graph is not None
    check_graph_fits(inputs.graph, inputs.dataset)
    manifest = verify(made / "aligned")
    assert {source.digest for source in manifest.made_from} == {
        read_manifest(made / name).digest for name in ("log", "streamed")
    }
    assert manifest.facts["version"] != read_manifest(made / "streamed").facts["version"]


def later_log(made: Path, to: Path) -> Path:
    """The last days of the raw log, ingested: some nodes of the graph are not in it."""
    to.mkdir()
    (to / "interactions").symlink_to(made / "raw" / "interactions", target_is_directory=True)
    schema = load_schema(made / "raw" / "schema.yaml")
    assert schema.split.validate_from is not None
    start = schema.split.validate_from.replace(hour=0) - (schema.split.test_from - schema.split.validate_from) / 2  # type: ignore[operator]
    split = schema.split.model_copy(update={"train_from": start})
    (to / "schema.yaml").write_text(dump_schema(schema.model_copy(update={"split": split})))
    ingest(str(to), to.with_name("part"))
    return to.with_name("part")


def test_nodes_that_a_shorter_log_lacks_are_counted_but_are_no_micro_neighbours(made: Path, tmp_path: Path) -> None:
    log = later_log(made, tmp_path / "raw")
    facts = align_graph(made / "streamed", log, tmp_path / "graph").facts
    part, streamed, users = read_graph(tmp_path / "graph"), read_graph(made / "streamed"), read_dataset(log).users
    assert facts["users"] == facts["users_in_graph"] == len(users) - 1 < len(streamed.user_group) - 1
    rows = np.array([0] + [int(raw) + 1 for raw in users.ids[1:]])
    item, items = part.snapshots[-1].item, read_dataset(log).items.ids
    before = streamed.snapshots[-1].item
    assert 0 < np.count_nonzero(item.recent) < np.count_nonzero(before.recent)
    for row in range(1, len(items)):
        whole = before.recent[int(items[row]) + 1]
        kept = [int(np.flatnonzero(rows == node)[0]) for node in whole if node in rows[1:]]
        assert item.recent[row].tolist() == kept + [0] * (3 - len(kept))
        assert np.array_equal(item.recent_score[row] > 0, item.recent[row] > 0)


def test_what_does_not_fit_is_refused_in_one_line(made: Path, tmp_path: Path) -> None:
    for graph, log, says in (
        (made / "aligned", made / "log", "no graph that `mgoe graph stream` made"),
        (made / "streamed", made / "aligned", "a macro-graph artifact, where a log is needed"),
    ):
        with pytest.raises(UserError, match=says):
            align_graph(graph, log, tmp_path / "out")
    stranger = SyntheticConfig(rows=2_000, users=100, items=50, tasks=SyntheticConfig().tasks[:2])
    write_synthetic(tmp_path / "raw", stranger, Layout(bare=True))
    ingest(str(tmp_path / "raw"), tmp_path / "log")
    with pytest.raises(UserError, match="has the tasks click, cart, buy, the log click, cart"):
        align_graph(made / "streamed", tmp_path / "log", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_align_says_how_much_of_the_log_the_graph_knows(made: Path, tmp_path: Path) -> None:
    command = ["align", str(made / "streamed"), "--log", str(made / "log"), "--out", str(tmp_path / "graph")]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, command)
    assert result.exit_code == 0, result.output
    users = len(read_dataset(made / "log").users) - 1
    assert f"it knows {users:,} of {users:,} users and" in result.output
