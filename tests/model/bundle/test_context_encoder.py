from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.bundle.bundle import open_bundle
from model.bundle.context_encoder import Context, ContextEncoder, number_of, text_of
from model.data.artifact import read_encoders
from model.data.encoding import as_text
from model.errors import UserError
from tests.model.bundle.bundle_world import World

SCALARS: list[tuple[st.SearchStrategy[object], pl.DataType]] = [
    (st.floats(), pl.Float64()),
    (st.integers(-(2**63), 2**63 - 1), pl.Int64()),
    (st.booleans(), pl.Boolean()),
    (st.text(), pl.String()),
]


@pytest.mark.parametrize(("values", "dtype"), SCALARS)
def test_a_category_reads_as_it_does_in_a_column_of_its_type(
    values: st.SearchStrategy[object], dtype: pl.DataType
) -> None:
    @given(st.none() | values)
    @settings(max_examples=300)
    def law(raw: object) -> None:
        assert text_of(raw) == as_text(pl.Series([raw], dtype=dtype))[0]

    law()


@pytest.mark.parametrize(
    ("raw", "text"),
    [(3.0, "3"), (-0.0, "0"), (1e-5, "0.00001"), (-1.5e-5, "-0.000015"), (1e-7, "1e-7"), (1e16, "1e+16"), ([3], None)],
)
def test_numbers_are_spelled_as_in_training(raw: object, text: str | None) -> None:
    assert text_of(raw) == text


@pytest.mark.parametrize("raw", [None, "3", True, [1.0], 10**400, math.nan])
def test_what_is_no_number_is_missing(raw: object) -> None:
    assert math.isnan(number_of(raw))


TEXTS = st.sampled_from(["a", "b", " c", "z\u3000", "never", ""])
CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        "slot": st.none() | st.integers(-1, 5) | st.sampled_from([2.0, 2.5]),
        "delay": st.none() | st.floats(-2, 1e6),
        "rank": st.none() | st.floats(-1e3, 1e3),
        "shown": st.none() | st.lists(TEXTS | st.none(), max_size=5),
    },
)
TIMES = st.integers(-(10**9), 4 * 10**9)


@given(st.lists(st.tuples(CONTEXTS, TIMES), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_a_request_is_encoded_as_a_row_of_the_log(world: World, requests: list[tuple[Context, int]]) -> None:
    encoders = read_encoders(world.log)
    contexts, times = [context for context, _ in requests], [time for _, time in requests]
    frame = pl.DataFrame(
        {
            "slot": pl.Series([context.get("slot") for context in contexts], dtype=pl.Float64, strict=False),
            "delay": pl.Series([context.get("delay") for context in contexts], dtype=pl.Float64),
            "rank": pl.Series([context.get("rank") for context in contexts], dtype=pl.Float64),
            "shown": pl.Series([context.get("shown") for context in contexts], dtype=pl.List(pl.String)),
        }
    )
    wanted = encoders.columns("context", frame, np.array(times, dtype=np.int64))
    found = open_bundle(world.bundle("mmoe")).context.encode(contexts, [time + 0.25 for time in times])
    np.testing.assert_array_equal(found.sparse, wanted.sparse)
    np.testing.assert_array_equal(found.dense, wanted.dense)
    for code, other in zip(found.multi, wanted.multi, strict=True):
        np.testing.assert_array_equal(code, other)


def test_a_text_is_cut_at_the_separator_as_in_the_log(world: World) -> None:
    encoder = open_bundle(world.bundle("mmoe")).context
    cut, listed = encoder.encode([{"shown": "b, a,b,never"}, {"shown": ["b", "a"]}], [0.0, 0.0]).multi[0]
    assert cut.tolist() == listed.tolist()
    assert (cut[:2] > 0).all()


def test_requests_may_carry_what_does_not_come_from_time(world: World) -> None:
    assert list(open_bundle(world.bundle("mgoe")).context.accepted) == ["slot", "delay", "rank", "shown"]


def test_a_broken_table_is_named(world: World, tmp_path: Path) -> None:
    schema = read_encoders(world.log).schema
    (tmp_path / "vocabularies.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(UserError, match=r"vocabularies\.parquet is no Parquet table"):
        ContextEncoder.load(tmp_path, schema)
