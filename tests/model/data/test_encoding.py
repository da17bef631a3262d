from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.encoding import Encoders, Fitting, Moments, Scale, Vocabulary, as_text, load_encoders, save_encoders
from model.data.schema import Feature
from model.errors import Fault
from tests.model.data.raw_logs import START, items, schema, users


def fitted() -> Encoders:
    log = schema()
    features: dict[str, Vocabulary | Scale] = {}
    for owner, frame in (("user", users()), ("item", items()), ("context", pl.DataFrame({"slot": [0, 1, 1]}))):
        fitting = Fitting(log.features_of(owner), "UTC")
        fitting.add(frame, np.ones(len(frame)), np.full(len(frame), START) if owner == "context" else None)
        features |= fitting.finish()
    return Encoders(log, Vocabulary(as_text(users()["user"])), Vocabulary(as_text(items()["item"])), features)


def test_a_whole_number_is_the_same_category_in_any_type() -> None:
    for raw in (pl.Series([3, None]), pl.Series([3.0, math.nan]), pl.Series(["3", None])):
        assert as_text(raw).to_list() == ["3", None]
    assert as_text(pl.Series([2.5])).to_list() == ["2.5"]


@given(st.lists(st.text(max_size=3), max_size=30), st.lists(st.text(max_size=3), max_size=30), st.integers(1, 3))
def test_what_was_met_too_seldom_is_unknown_and_all_else_has_its_own_code(
    met: list[str], asked: list[str], min_count: int
) -> None:
    counts = pl.DataFrame({"value": met, "count": [1.0] * len(met)}, schema={"value": pl.String, "count": pl.Float64})
    vocabulary = Vocabulary.of(counts.group_by("value").agg(pl.col("count").sum()), min_count)
    codes = vocabulary.encode(pl.Series(asked, dtype=pl.String))
    for value, code in zip(asked, codes, strict=True):
        assert (code > 0) == (met.count(value) >= min_count)
        assert code == 0 or vocabulary.values[int(code) - 1] == value


@given(
    st.lists(st.lists(st.sampled_from("abcdef"), max_size=6), min_size=1, max_size=12),
    st.integers(1, 3),
    st.integers(1, 2),
)
def test_every_code_of_a_multi_valued_feature_is_met_in_the_rows_that_it_was_fitted_on(
    values: list[list[str]], max_length: int, min_count: int
) -> None:
    tags = Feature(name="t", of="item", kind="multi", column="t", max_length=max_length, min_count=min_count)
    frame = pl.DataFrame({"t": values}, schema={"t": pl.List(pl.String)})
    fitting = Fitting((tags,), "UTC")
    fitting.add(frame, np.ones(len(frame)))
    empty = Vocabulary(pl.Series("value", [], dtype=pl.String))
    encoders = Encoders(schema(features=(tags,)), empty, empty, fitting.finish())
    codes = encoders.columns("item", frame).multi[0]
    assert set(range(1, encoders.cardinalities("item")["t"])) == set(codes.ravel().tolist()) - {0}


@given(st.lists(st.floats(-1e3, 1e3) | st.none(), min_size=1, max_size=40), st.integers(0, 40))
def test_the_scale_of_a_dense_feature_is_that_of_its_known_values_in_any_batches(
    values: list[float | None], at: int
) -> None:
    value = np.array([math.nan if v is None else v for v in values])
    moments = Moments()
    for part in (value[:at], value[at:]):
        moments.add(part, np.ones(len(part)))
    scale = moments.scale()
    known = value[np.isfinite(value)]
    assert scale.mean == pytest.approx(known.mean() if len(known) else 0.0, abs=1e-6)
    coded = scale.encode(value)
    assert np.isfinite(coded).all()
    assert not coded[~np.isfinite(value)].any()


def test_several_values_are_coded_in_order_once_and_cut_at_the_longest() -> None:
    encoders = fitted()
    codes = encoders.columns("item", items()).multi[0]
    vocabulary = encoders.features["tags"]
    assert isinstance(vocabulary, Vocabulary)
    words = [[vocabulary.values[int(c) - 1] for c in row if c] for row in codes]
    assert words[:7] == [["a", "b"], ["b"], [""], ["c", "a"], [], ["a"], ["b", "c"]]


def test_lists_and_text_with_a_separator_are_coded_alike() -> None:
    encoders = fitted()
    text = pl.DataFrame({"tags": ["a,b", "c", "unmet,a", None]})
    lists = pl.DataFrame({"tags": [["a", "b"], ["c"], ["unmet", "a"], None]})
    np.testing.assert_array_equal(encoders.columns("item", text).multi[0], encoders.columns("item", lists).multi[0])


def test_lists_of_numbers_are_coded_as_their_text() -> None:
    numbers = Feature(name="n", of="item", kind="multi", column="n", max_length=3)
    fitting = Fitting([numbers], "UTC")
    fitting.add(pl.DataFrame({"n": [[1, 2], [2], []]}), np.ones(3))
    vocabulary = fitting.finish()["n"]
    assert isinstance(vocabulary, Vocabulary)
    assert vocabulary.values.to_list() == ["2", "1"]


def test_a_category_without_weight_stays_unknown() -> None:
    fitting = Fitting(schema().features_of("user"), "UTC")
    fitting.add(users(), np.array([1.0] * 11 + [0.0, 1.0]))
    city = fitting.finish()["city"]
    assert isinstance(city, Vocabulary)
    assert "Lima" not in city.values.to_list()


def test_the_hour_is_taken_in_the_zone_of_the_log() -> None:
    log = schema(
        interactions={**schema().interactions.model_dump(), "time": {"column": "t", "timezone": "Asia/Shanghai"}}
    )
    fitting = Fitting([f for f in log.features if f.derive], "Asia/Shanghai")
    fitting.add(pl.DataFrame({"t": [0]}), np.ones(1), np.array([START + 1800]))
    hour = fitting.finish()["hour"]
    assert isinstance(hour, Vocabulary)
    assert hour.values.to_list() == ["8"]


def test_a_request_without_a_feature_is_coded_as_unknown() -> None:
    columns = fitted().columns("user", pl.DataFrame({"user": ["u1", "u2"]}))
    assert not columns.sparse.any()
    assert not columns.dense.any()


def test_raw_ids_of_any_type_find_their_node() -> None:
    encoders = fitted()
    assert encoders.item_index([3, 3.0, "3", None, 77]).tolist() == [4, 4, 4, 0, 0]
    assert encoders.user_index(pl.Series(["u0", "nobody"])).tolist() == [1, 0]


def test_encoders_read_back_code_as_before(tmp_path: Path) -> None:
    before = fitted()
    save_encoders(before, tmp_path)
    after = load_encoders(tmp_path, schema())
    for owner, frame in (("user", users()), ("item", items())):
        first, second = before.columns(owner, frame), after.columns(owner, frame)
        np.testing.assert_array_equal(first.sparse, second.sparse)
        np.testing.assert_array_equal(first.dense, second.dense)
        for one, other in zip(first.multi, second.multi, strict=True):
            np.testing.assert_array_equal(one, other)
    assert after.cardinalities("item") == before.cardinalities("item") == {"tags": 6}


def test_a_missing_encoder_table_is_a_fault(tmp_path: Path) -> None:
    save_encoders(fitted(), tmp_path)
    (tmp_path / "scales.parquet").unlink()
    with pytest.raises(Fault, match="encoder tables"):
        load_encoders(tmp_path, schema())
