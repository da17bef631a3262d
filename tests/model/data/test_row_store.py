"""Rows find their place in time without being held."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data.artifact import read_dataset, write_dataset
from model.data.ingest import assemble
from model.data.row_store import RowStore, TimeOrder
from model.data.time_counts import TimeCounts
from tests.model.data.raw_logs import schema, write


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 20))
def test_places_are_a_stable_sort_by_time_in_any_batches(times: list[int], size: int) -> None:
    time = np.array(times, dtype=np.int64)
    order = TimeOrder(TimeCounts.of(time))
    places = [order.places(time[start : start + size]) for start in range(0, len(time), size)]
    found = np.concatenate([np.zeros(0, np.int64), *places])
    np.testing.assert_array_equal(np.argsort(found), np.argsort(time, kind="stable"))


def test_a_disk_without_room_for_the_rows_is_an_error_before_the_first_is_written(tiny_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        RowStore(schema(), 100_000, tiny_disk / "train", request=False)


def test_rows_that_are_written_as_they_come_are_those_assembled_in_memory(tmp_path: Path) -> None:
    place = write(tmp_path / "raw")
    folder = tmp_path / "log"
    in_memory, _ = assemble(place, schema())
    on_disk, _ = assemble(place, schema(), folder)
    assert isinstance(on_disk.train.user, np.memmap)
    write_dataset(on_disk, folder)
    write_dataset(in_memory, tmp_path / "whole")
    for path in sorted((tmp_path / "whole").rglob("*.npy")):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path / "whole")).read_bytes()
    again = read_dataset(folder)
    np.testing.assert_array_equal(again.train.labels, in_memory.train.labels)
