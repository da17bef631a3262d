from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.artifact.manifest import verify
from model.data.artifact import read_dataset, read_encoders
from model.data.dataset import Dataset, Interactions
from model.data.encoding import Encoders
from model.data.ingest import assemble, ingest
from model.data.place import LogPlace
from model.errors import UserError
from tests.model.data.raw_logs import START, history, rows, schema, schema_content, users, write
from tests.plugins.rgw import S3Server


def same_rows(one: Interactions, other: Interactions) -> None:
    for name in ("user", "item", "time", "labels", "observed", "request"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.context.sparse, other.context.sparse)


def same(one: Dataset, other: Dataset) -> None:
    for side in ("users", "items"):
        for name in ("ids", "seen"):
            np.testing.assert_array_equal(getattr(getattr(one, side), name), getattr(getattr(other, side), name))
        np.testing.assert_array_equal(getattr(one, side).features.sparse, getattr(other, side).features.sparse)
        np.testing.assert_allclose(getattr(one, side).features.dense, getattr(other, side).features.dense, atol=1e-6)
    for part in ("train", "validate", "test"):
        same_rows(getattr(one, part), getattr(other, part))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> LogPlace:
    return write(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def made(toy: LogPlace) -> tuple[Dataset, Encoders]:
    return assemble(toy, schema())


def test_the_parts_follow_each_other_in_time(made: tuple[Dataset, Encoders]) -> None:
    dataset, _ = made
    assert dataset.history is not None
    parts = (dataset.history, dataset.train, dataset.validate, dataset.test)
    assert [len(part) for part in parts] == [30, 144, 48, 48]
    for before, after in pairwise(parts):
        assert before.time.max() < after.time.min()
    assert all((np.diff(part.time) >= 0).all() for part in parts)


def test_history_without_time_stands_in_its_order_within_a_user(made: tuple[Dataset, Encoders]) -> None:
    dataset, encoders = made
    assert dataset.history is not None
    raw = history().sort("place")
    for name in ("u0", "u20"):
        index = encoders.user_index([name])[0]
        expected = encoders.item_index(raw.filter(pl.col("user") == name)["item"])
        np.testing.assert_array_equal(dataset.history.item[dataset.history.user == index], expected)
    assert (dataset.history.time == START - 1).all()


def test_tasks_that_the_history_lacks_are_unobserved_there(made: tuple[Dataset, Encoders]) -> None:
    dataset, _ = made
    assert dataset.history is not None
    assert dataset.history.observed.all(axis=0).tolist() == [True, False]
    assert dataset.train.observed.all()


def test_every_node_of_side_files_history_and_training_has_an_index(made: tuple[Dataset, Encoders]) -> None:
    dataset, _ = made
    assert set(dataset.users.ids[1:]) == {*(f"u{u}" for u in range(12)), "u99", "u20"}
    assert dataset.users.ids[0] == ""
    assert (dataset.test.user > 0).all()


def test_only_nodes_of_history_and_training_are_seen(made: tuple[Dataset, Encoders]) -> None:
    dataset, _ = made
    seen = dict(zip(dataset.users.ids.tolist(), dataset.users.seen.tolist(), strict=True))
    assert seen["u20"]
    assert seen["u0"]
    assert not seen["u11"]
    assert not seen["u99"]
    assert not seen[""]
    assert not dataset.items.seen[dataset.items.ids == "9"]


def test_a_node_that_only_later_rows_know_is_unknown_without_a_side_file(tmp_path: Path) -> None:
    content = schema_content()
    content["users"] = None
    content["features"] = [f for f in content["features"] if f["of"] != "user"]
    dataset, encoders = assemble(write(tmp_path, content), schema(**content))
    assert encoders.user_index(["u11"])[0] == 0
    assert (dataset.test.user == 0).sum() == (rows().tail(48)["user"] == "u11").sum() > 0


def test_nothing_of_validation_and_test_reaches_encoders_nodes_or_training(
    made: tuple[Dataset, Encoders], tmp_path: Path
) -> None:
    dataset, encoders = made
    late = pl.col("time") >= START + 6 * 86_400
    changed = rows().with_columns(
        pl.when(late).then(1 - pl.col("click")).otherwise("click").alias("click"),
        pl.when(late).then(1 - pl.col("buy")).otherwise("buy").alias("buy"),
        pl.when(late).then(99).otherwise("slot").alias("slot"),
        pl.when(late).then(pl.lit("u3")).otherwise("user").alias("user"),
    )
    other, others = assemble(write(tmp_path, rows=changed), schema())
    same_rows(dataset.train, other.train)
    np.testing.assert_array_equal(dataset.users.seen, other.users.seen)
    np.testing.assert_array_equal(dataset.users.features.sparse, other.users.features.sparse)
    np.testing.assert_array_equal(dataset.items.features.dense, other.items.features.dense)
    assert encoders.cardinalities("context") == others.cardinalities("context")
    assert (other.test.context.sparse[:, 0] == 0).all()
    assert dataset.rates is not None
    assert other.rates is not None
    early = dataset.rates.as_of <= START + 6 * 86_400
    assert early.sum() == 7
    np.testing.assert_array_equal(dataset.rates.user[early], other.rates.user[early])
    assert (dataset.rates.user[~early] != other.rates.user[~early]).any()


def test_a_raw_request_is_encoded_as_its_row_was(made: tuple[Dataset, Encoders]) -> None:
    dataset, encoders = made
    request = rows().tail(1)
    again = encoders.columns("context", request.select("slot"), request["time"].to_numpy())
    np.testing.assert_array_equal(again.sparse[0], dataset.test.context.sparse[-1])
    index = encoders.user_index(request["user"])[0]
    features = encoders.columns("user", users().filter(pl.col("user") == request["user"][0]))
    np.testing.assert_array_equal(features.sparse[0], dataset.users.features.sparse[index])


@settings(max_examples=8, deadline=None)
@given(batch_rows=st.integers(1, 250))
def test_the_size_of_the_batches_changes_nothing(
    toy: LogPlace, made: tuple[Dataset, Encoders], batch_rows: int
) -> None:
    same(made[0], assemble(replace(toy, batch_rows=batch_rows), schema())[0])


def test_a_log_in_any_order_is_sorted_when_its_schema_says_so(made: tuple[Dataset, Encoders], tmp_path: Path) -> None:
    content = schema_content()
    content["interactions"]["order"] = "any"
    shuffled = write(tmp_path, content, rows=rows().sample(fraction=1.0, shuffle=True, seed=1))
    dataset, _ = assemble(shuffled, schema(**content))
    np.testing.assert_array_equal(dataset.train.time, made[0].train.time)
    np.testing.assert_array_equal(dataset.train.labels, made[0].train.labels)


def test_a_conditional_task_is_observed_only_where_its_condition_holds(tmp_path: Path) -> None:
    content = schema_content()
    content["tasks"][1] |= {"space": "conditional", "given": "click"}
    train = assemble(write(tmp_path, content), schema(**content))[0].train
    np.testing.assert_array_equal(train.observed[:, 1], train.labels[:, 0] == 1)
    assert train.observed[:, 0].all()


def test_columns_of_a_file_alongside_are_joined_by_row(made: tuple[Dataset, Encoders], tmp_path: Path) -> None:
    content = schema_content()
    content["interactions"]["alongside"] = ["context.parquet"]
    place = write(tmp_path, content, rows=rows().drop("slot"), context=rows().select("slot"))
    same(assemble(place, schema(**content))[0], made[0])


def test_a_log_of_partitioned_folders_is_the_log_of_one_file(made: tuple[Dataset, Encoders], tmp_path: Path) -> None:
    content = schema_content()
    content["interactions"]["path"] = "impressions"
    place = write(tmp_path, content)
    for day, part in enumerate(
        rows().with_columns(_day=pl.col("time") // 86_400).partition_by("_day", maintain_order=True, include_key=False)
    ):
        folder = tmp_path / "impressions" / f"day={day:02}"
        folder.mkdir(parents=True)
        part.write_parquet(folder / "part.parquet")
    same(assemble(place, schema(**content))[0], made[0])


def test_an_artifact_is_whole_and_made_the_same_again(toy: LogPlace, tmp_path: Path) -> None:
    first, second = ingest(toy.root, tmp_path / "a"), ingest(toy.root, tmp_path / "b")
    assert first.digest == second.digest == verify(tmp_path / "a").digest
    assert first.facts["train_rows"] == 144
    assert first.facts["tasks"] == ["click", "buy"]
    dataset = read_dataset(tmp_path / "a")
    assert read_encoders(tmp_path / "a").users.values.to_list() == dataset.users.ids[1:].tolist()


@pytest.mark.s3
def test_a_log_on_s3_gives_the_artifact_of_the_same_log_on_disk(
    toy: LogPlace, s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    for path in Path(toy.root).iterdir():
        s3_server.client().fput_object(s3_bucket, f"logs/toy/{path.name}", str(path))
    there = ingest(f"s3://{s3_bucket}/logs/toy", tmp_path / "there")
    assert there.digest == ingest(toy.root, tmp_path / "here").digest


def test_a_wrong_log_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    place = write(tmp_path / "raw", rows=rows().with_columns(click=pl.lit(2)))
    with pytest.raises(UserError, match=r"label click is neither 0 nor 1 .* \(and \d more"):
        ingest(place.root, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_rates_are_left_out_where_the_schema_says_so(toy: LogPlace) -> None:
    assert assemble(toy, schema(rates="none"))[0].rates is None


@pytest.mark.skipif(not os.environ.get("MGOE_DATA"), reason="MGOE_DATA names no folder with kuairand_pure")
def test_kuairand_pure_is_ingested_as_its_card_says(tmp_path: Path) -> None:
    facts = ingest(f"{os.environ['MGOE_DATA']}/kuairand_pure", tmp_path / "log").facts
    counts = [facts[f"{part}_rows"] for part in ("history", "train", "validate", "test")]
    assert counts == [817_187, 150_214, 30_281, 42_374]
    assert (facts["users"], facts["items"]) == (27_285, 7_583)
    shares = facts["train_positive_share"]
    assert isinstance(shares, dict)
    assert shares == pytest.approx(
        {"click": 0.451, "long_view": 0.318, "like": 0.0179, "profile_enter": 0.0192}, rel=5e-3
    )
    dataset = read_dataset(tmp_path / "log")
    assert (dataset.train.time < 1_650_816_000).sum() == 141
