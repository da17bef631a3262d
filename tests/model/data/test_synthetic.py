from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.data.check import check
from model.data.ingest import assemble
from model.data.place import open_place
from model.data.schema_file import resolve_schema
from model.data.synthetic import TRUTH, Layout, synthetic_schema, write_synthetic
from model.data.synthetic_config import SyntheticConfig
from model.data.synthetic_world import Float64, Rows, World, make_rows, make_world
from model.errors import UserError
from model.metrics.auc import auc

SMALL = SyntheticConfig(rows=6_000, users=300, items=80, user_clusters=4, item_clusters=4, days=7)


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(SMALL)


@pytest.fixture(scope="module")
def whole(world: World) -> Rows:
    return make_rows(world, 0, SMALL.rows)


@settings(max_examples=30, deadline=None)
@given(cut=st.tuples(st.integers(0, SMALL.rows), st.integers(0, SMALL.rows)).map(sorted))
def test_any_slice_of_a_log_has_the_rows_of_the_whole(world: World, whole: Rows, cut: list[int]) -> None:
    start, stop = cut
    part = make_rows(world, start, stop)
    for name in ("user", "item", "time", "request", "slot", "label", "probability"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[start:stop])


def test_the_log_does_not_depend_on_the_size_of_the_row_groups(tmp_path: Path) -> None:
    for group in (700, 6_000):
        write_synthetic(tmp_path / str(group), SMALL, Layout(group_rows=group))
    assert pq.ParquetFile(tmp_path / "700" / "interactions.parquet").num_row_groups == 9
    for name in ("interactions", "users", "items"):
        one, other = (pl.read_parquet(tmp_path / group / f"{name}.parquet") for group in ("700", "6000"))
        assert one.equals(other)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_log(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_synthetic(tmp_path / name, SMALL.model_copy(update={"seed": seed}))
    log = {name: (tmp_path / name / "interactions.parquet").read_bytes() for name in "abc"}
    assert log["a"] == log["b"] != log["c"]


def test_a_synthetic_log_has_no_error_and_is_ingested(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "log", SMALL)
    place = open_place(str(tmp_path / "log"))
    schema = resolve_schema(place, None)
    assert [finding for finding in check(place, schema) if finding.severity == "error"] == []
    dataset, encoders = assemble(place, schema)
    assert len(dataset.train) > len(dataset.test) > 0
    assert dataset.train.request is not None
    assert (np.bincount(dataset.train.request)[1:-1] <= 5).all()
    assert encoders.cardinalities("user")["region"] == SMALL.user_clusters + 1


def test_cold_users_and_items_appear_in_the_test_days_only(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "log", SMALL.model_copy(update={"cold_share": 0.2}))
    place = open_place(str(tmp_path / "log"))
    dataset, encoders = assemble(place, resolve_schema(place, None))
    for side, nodes, index in (
        ("user", dataset.users, encoders.user_index),
        ("item", dataset.items, encoders.item_index),
    ):
        truth = pl.read_parquet(tmp_path / "log" / TRUTH / f"{side}s.parquet")
        cold = index(truth.filter(pl.col("born_ms") > truth["born_ms"].min())[side])
        assert len(cold) > 5
        assert not nodes.seen[cold].any()
        assert not np.isin(getattr(dataset.validate, side), cold).any()
        assert np.isin(getattr(dataset.test, side), cold).any()


def test_stronger_tasks_hold_only_where_the_weaker_ones_do(whole: Rows) -> None:
    assert (np.diff(whole.label.astype(int), axis=1) <= 0).all()
    shares = whole.label.mean(axis=0)
    assert (np.diff(shares) < 0).all()


def test_the_labels_follow_the_probabilities_that_are_planted(whole: Rows) -> None:
    for task in range(3):
        said, held = whole.probability[:, task], whole.label[:, task]
        assert held.mean() == pytest.approx(said.mean(), abs=4 * np.sqrt(said.mean() / len(said)))
        assert auc(held, said) > 0.75


def test_clusters_say_more_of_a_label_than_who_and_what_alone(world: World, whole: Rows) -> None:
    """The planted affinity is what a macro graph can find and a sum of user and item rates cannot."""
    label = whole.label[:, 0].astype(float)
    user, item = world.users.cluster[whole.user], world.items.cluster[whole.item]

    def rate(code: npt.NDArray[np.integer]) -> Float64:
        even = np.arange(len(label)) % 2 == 0
        counts = np.bincount(code[even], minlength=code.max() + 1) + 5.0
        positive = np.bincount(code[even], weights=label[even], minlength=code.max() + 1) + 5.0 * label.mean()
        rates: Float64 = (positive / counts)[code]
        return rates

    odd = np.arange(len(label)) % 2 == 1
    alone = (rate(whole.user) + rate(whole.item))[odd]
    together = alone + 2 * rate(user * SMALL.item_clusters + item)[odd]
    assert auc(label[odd], together) > auc(label[odd], alone) + 0.03


def test_no_feature_names_the_planted_clusters(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "log", SMALL)
    schema = synthetic_schema(SMALL)
    files = (schema.interactions.path, *(node.path for node in (schema.users, schema.items) if node))
    assert not any(TRUTH in path for path in files)
    for name in ("users", "items"):
        assert "cluster" not in pl.read_parquet_schema(tmp_path / "log" / f"{name}.parquet")


def test_a_folder_that_holds_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="is no synthetic log"):
        write_synthetic(tmp_path, SMALL)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_older_synthetic_log_is_replaced(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "log", SMALL)
    write_synthetic(tmp_path / "log", SMALL.model_copy(update={"rows": 1_000}))
    assert pq.ParquetFile(tmp_path / "log" / "interactions.parquet").metadata.num_rows == 1_000


def test_a_log_in_parts_holds_the_rows_of_the_log_in_one_file(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "one", SMALL)
    write_synthetic(tmp_path / "parts", SMALL, Layout(parts=7, group_rows=300))
    files = sorted((tmp_path / "parts" / "interactions").iterdir())
    assert [file.name for file in files] == [f"part-{part:05}.parquet" for part in range(7)]
    assert pl.concat([pl.read_parquet(file) for file in files]).equals(
        pl.read_parquet(tmp_path / "one" / "interactions.parquet")
    )
    one, parts = (
        assemble(place, resolve_schema(place, None))[0].train
        for place in (open_place(str(tmp_path / name)) for name in ("one", "parts"))
    )
    np.testing.assert_array_equal(one.item, parts.item)


def test_a_bare_log_has_the_same_rows_without_side_tables_context_and_features(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "whole", SMALL)
    write_synthetic(tmp_path / "bare", SMALL, Layout(bare=True))
    whole, bare = (pl.read_parquet(tmp_path / name / "interactions.parquet") for name in ("whole", "bare"))
    assert bare.columns == ["user", "item", "time_ms", "click", "cart", "buy"]
    assert bare.equals(whole.select(bare.columns))
    place = open_place(str(tmp_path / "bare"))
    schema = resolve_schema(place, None)
    assert [finding for finding in check(place, schema) if finding.severity == "error"] == []
    assert schema.features == ()
    assert len(assemble(place, schema)[0].test) > 0
