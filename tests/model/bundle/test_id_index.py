from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.bundle.id_index import IdIndex
from model.data.encoding import Vocabulary

IDS = st.lists(st.text(max_size=6) | st.integers(0, 40).map(str), unique=True, max_size=60)


@given(IDS, st.lists(st.text(max_size=8) | st.integers(0, 60).map(str), max_size=40))
def test_an_id_has_the_code_that_training_gave_it(known: list[str], others: list[str]) -> None:
    asked = [*others, *known[::2], *(raw + "0" for raw in known[:3])]
    wanted = Vocabulary(pl.Series(known, dtype=pl.String)).encode(pl.Series(asked, dtype=pl.String))
    assert IdIndex.of(known).find(asked).tolist() == wanted.tolist()


@given(IDS)
def test_a_code_leads_back_to_its_id(known: list[str]) -> None:
    index = IdIndex.of(known)
    assert [index.id_of(code) for code in index.find(known).tolist()] == known


def test_an_id_is_found_alone_as_in_any_company() -> None:
    known = [f"item-{number * 7919}" for number in range(20_000)]
    index = IdIndex.of(known)
    asked = known[::37] + [raw[:-1] + "x" for raw in known[::41]] + ["", "\0", "item-" * 50]
    together = index.find(asked)
    assert together.tolist() == [int(index.find([raw])[0]) for raw in asked]
    assert (together[: len(known[::37])] == np.arange(1, 20_001)[::37]).all()
    assert not together[len(known[::37]) :].any()


@pytest.mark.parametrize("odd", ["\ud800", "a\ud83d", "a\0", "\0a", "a\0b", "\0"])
def test_text_that_json_can_spell_and_no_log_can_hold_is_unknown(odd: str) -> None:
    index = IdIndex.of(["a", "b", "ab"])
    assert index.find(["a", odd, "b"]).tolist() == [1, 0, 2]


def test_what_was_saved_is_mapped_and_finds_the_same(tmp_path: Path) -> None:
    known = ["u1", "", "ü", "u2\0", "\U0001f600"]
    IdIndex.of(known).save(tmp_path)
    index = IdIndex.load(tmp_path)
    assert isinstance(index.text_C, np.memmap)
    assert index.find([*known, "u3"]).tolist() == [1, 2, 3, 4, 5, 0]


def test_equal_ids_are_no_index() -> None:
    with pytest.raises(ValueError, match="not distinct"):
        IdIndex.of(["a", "b", "a"])
