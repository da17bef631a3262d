"""A raw log of dense ids, streamed without being ingested."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from model.artifact.manifest import verify
from model.data.schema import LogSchema, Split
from model.data.schema_file import dump_schema, load_schema
from model.data.synthetic import Layout, write_synthetic
from model.data.synthetic_config import SyntheticConfig
from model.errors import UserError
from model.graph.artifact import read_graph
from model.graph.build import build_from
from model.graph.config import GraphConfig
from model.graph.dense_log import dense_log
from model.graph.events import ParquetEvents, events_of
from model.graph.run import stream_graph
from tests.model.graph.equality import graph_differences

SMALL = SyntheticConfig(rows=6_000, users=500, items=120, seed=3)
CONFIG = GraphConfig(
    user_groups=8, item_groups=6, svd_rank=4, top_k=5, features="folded", fold_users=200, fold_items=90
)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dense") / "log"
    write_synthetic(folder, SMALL, Layout(parts=5, bare=True, group_rows=400))
    return folder


def changed(log: Path, to: Path, **schema: Any) -> Path:
    """The log's rows under another schema."""
    to.mkdir()
    (to / "interactions").symlink_to(log / "interactions", target_is_directory=True)
    described = load_schema(log / "schema.yaml").model_dump() | schema
    (to / "schema.yaml").write_text(dump_schema(LogSchema.model_validate(described)))
    return to


def test_node_indices_are_ids_and_one_and_labels_are_masks(log: Path) -> None:
    raw = pl.concat([pl.read_parquet(path) for path in sorted((log / "interactions").iterdir())])
    source = dense_log(log)
    assert source.rows == len(raw)
    assert source.catalogue.n_users == raw["user"].max() + 2  # type: ignore[operator]
    assert source.span.end == raw["time_ms"].max() // 1000 + 1  # type: ignore[operator]
    chunks = list(events_of(source))
    for name, column in (
        ("user", raw["user"] + 1),
        ("item", raw["item"] + 1),
        ("time", raw["time_ms"] // 1000),
        ("mask", raw["click"] + 2 * raw["cart"] + 4 * raw["buy"]),
    ):
        assert [value for chunk in chunks for value in getattr(chunk, name).tolist()] == column.to_list()
    assert not any(chunk.mask.any() for chunk in events_of(source, labels=False))


@pytest.mark.parametrize("shards", [2, 7])
def test_a_streamed_log_in_shards_gives_the_graph_that_is_built_in_memory(log: Path, shards: int) -> None:
    source = dense_log(log)
    small_batches = ParquetEvents(source.path, source.catalogue, source.span, 777, source.columns)
    whole = build_from(source, CONFIG, "digest")
    parts = build_from(small_batches, CONFIG.model_copy(update={"shards": shards, "threads": 2}), "digest")
    assert whole.snapshots[1].user.hop2.macro.any()
    assert graph_differences(whole, parts) == []


def test_a_streamed_graph_is_an_artifact_whose_version_follows_the_log(log: Path, tmp_path: Path) -> None:
    first, again = (stream_graph(str(log), tmp_path / name, CONFIG) for name in ("a", "b"))
    assert first.digest == again.digest == verify(tmp_path / "a").digest
    other = changed(log, tmp_path / "renamed", name="another")
    assert stream_graph(f"file://{other}", tmp_path / "c", CONFIG).facts["version"] != first.facts["version"]
    assert len(read_graph(tmp_path / "a").user_group) == dense_log(log).catalogue.n_users


def rows_of(folder: Path, log: Path, **columns: Any) -> Path:
    """A log of two rows under the schema of `log`; columns replace its own."""
    (folder / "interactions").mkdir(parents=True)
    (folder / "schema.yaml").write_text((log / "schema.yaml").read_text())
    rows = {"user": [0, 1], "item": [0, 1], "time_ms": [1_704_067_200_000] * 2}
    rows |= {task: [0, 1] for task in ("click", "cart", "buy")} | columns
    pl.DataFrame(rows).write_parquet(folder / "interactions" / "part.parquet")
    return folder


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32, np.int64])
def test_the_largest_id_of_a_narrow_column_is_not_wrapped(log: Path, tmp_path: Path, dtype: type[np.integer]) -> None:
    top = min(int(np.iinfo(dtype).max), 2**31 - 3)
    folder = rows_of(tmp_path, log, user=np.array([3, top], dtype))
    assert [chunk.user.tolist() for chunk in events_of(dense_log(folder))] == [[4, top + 1]]


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ([0, 2], "label cart holds 2"),
        ([-1, 0], "cart holds -1"),
        ([0.5, 1.0], "cart holds 0.5"),
        (["0", "1"], "string"),
    ],
)
def test_a_label_that_is_neither_0_nor_1_is_refused(log: Path, tmp_path: Path, label: list[Any], says: str) -> None:
    source = dense_log(rows_of(tmp_path, log, cart=label))
    with pytest.raises(UserError, match=says):
        list(events_of(source))


@pytest.mark.parametrize("label", [[False, True], [0.0, 1.0], [None, 1]])
def test_labels_may_be_booleans_or_floats_and_null_is_unknown(log: Path, tmp_path: Path, label: list[Any]) -> None:
    (events,) = events_of(dense_log(rows_of(tmp_path, log, cart=label)))
    assert (events.mask >> 1 & 1).tolist() == [0, 1]
    assert (events.known >> 1 & 1).tolist() == [label[0] is not None, 1]


def test_rows_outside_the_split_are_no_events(log: Path, tmp_path: Path) -> None:
    split = load_schema(log / "schema.yaml").split
    cut = split.model_copy(update={"train_from": datetime(2024, 1, 3), "until": datetime(2024, 1, 14, 12)})
    inside = dense_log(changed(log, tmp_path / "inside", split=cut.model_dump()))
    first, end = 1_704_240_000, 1_705_233_600
    assert (inside.span.train_from, inside.span.end) == (first, end)
    times = [time for chunk in events_of(inside) for time in chunk.time.tolist()]
    whole = [time for chunk in events_of(dense_log(log)) for time in chunk.time.tolist()]
    assert times == [time for time in whole if first <= time < end] != whole
    later = changed(log, tmp_path / "x", split=Split(train_from=datetime(2030, 1, 1)).model_dump())
    with pytest.raises(UserError, match="a split by fractions"):
        dense_log(later)
    moments = {
        "train_from": datetime(2030, 1, 1),
        "validate_from": datetime(2030, 1, 2),
        "test_from": datetime(2030, 1, 3),
    }
    with pytest.raises(UserError, match="no row lies between the split's train_from and until"):
        dense_log(changed(log, tmp_path / "never", split=Split(**moments).model_dump()))


@pytest.mark.parametrize("options", [{"features": "category"}, {"item_grouping": "category"}])
def test_categories_and_buckets_are_refused_before_a_row_is_read(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="no item features to group by: use features=folded"):
        stream_graph(str(tmp_path / "absent"), tmp_path / "out", CONFIG.model_copy(update=options))
    with pytest.raises(UserError, match="log s3://bucket/log: a streamed log is read from a local folder"):
        stream_graph("s3://bucket/log", tmp_path / "out", CONFIG)


@pytest.mark.slow
def test_ten_million_rows_in_shards_give_the_graph_that_is_built_in_memory(tmp_path: Path) -> None:
    write_synthetic(
        tmp_path / "log", SyntheticConfig(rows=10_000_000, users=1_000_000, items=100_000), Layout(parts=4, bare=True)
    )
    config = GraphConfig(user_groups=200, item_groups=200, svd_rank=32, top_k=16, recent=5, features="folded")
    whole = build_from(dense_log(tmp_path / "log"), config.model_copy(update={"memory_mb": 8192}), "digest")
    sharded = config.model_copy(update={"shards": 9, "threads": 2})
    assert graph_differences(whole, build_from(dense_log(tmp_path / "log"), sharded, "digest")) == []


def test_ids_that_are_no_dense_integers_are_refused_by_column(log: Path, tmp_path: Path) -> None:
    for number, (ids, says) in enumerate(
        [
            (["a", "b"], "user is not whole numbers"),
            ([1, None], "user is not whole numbers"),
            ([-1, 3], "user holds ids -1 to 3"),
            ([1, 2**40], "ingest the log"),
        ]
    ):
        folder = tmp_path / str(number)
        (folder / "interactions").mkdir(parents=True)
        (folder / "schema.yaml").write_text((log / "schema.yaml").read_text())
        rows = {"user": ids, "item": [0, 1], "time_ms": [1_704_067_200_000] * 2}
        pl.DataFrame(rows | {task: [0, 1] for task in ("click", "cart", "buy")}).write_parquet(
            folder / "interactions" / "part.parquet"
        )
        with pytest.raises(UserError, match=says):
            dense_log(folder)


@pytest.mark.parametrize("kept", [600, None])
def test_a_damaged_part_is_named(log: Path, tmp_path: Path, kept: int | None) -> None:
    shutil.copytree(log, tmp_path / "log")
    part = tmp_path / "log" / "interactions" / "part-00002.parquet"
    content = bytearray(part.read_bytes())
    content[200:400] = bytes(200)
    part.write_bytes(content[:kept])
    with pytest.raises(UserError, match=r"part-00002.parquet cannot be read as Parquet"):
        build_from(dense_log(tmp_path / "log"), CONFIG, "digest")


def test_what_only_ingestion_gives_is_refused(log: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a split by fractions: ingest it first"):
        dense_log(changed(log, tmp_path / "a", split=Split().model_dump()))
    tasks = [task.model_dump() for task in load_schema(log / "schema.yaml").tasks]
    tasks[2] |= {"space": "conditional", "given": "cart"}
    with pytest.raises(UserError, match="the conditional task buy: ingest it first"):
        dense_log(changed(log, tmp_path / "b", tasks=tasks))
    files = load_schema(log / "schema.yaml").interactions.model_dump() | {"path": "elsewhere"}
    elsewhere = changed(log, tmp_path / "c", interactions=files)
    with pytest.raises(UserError, match="no Parquet file elsewhere"):
        dense_log(elsewhere)


def test_a_later_training_start_is_where_rows_are_trained_on(log: Path, tmp_path: Path) -> None:
    whole = load_schema(log / "schema.yaml").split
    later = whole.model_copy(update={"train_from": datetime(2024, 1, 5)})
    assert dense_log(changed(log, tmp_path / "later", split=later.model_dump())).span.train_from == 1_704_412_800
