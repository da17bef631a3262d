from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.data.artifact import read_dataset, write_dataset
from model.data.dataset import Dataset
from model.data.ingest import assemble
from model.errors import Fault
from tests.model.data.raw_logs import schema, write


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return assemble(write(tmp_path_factory.mktemp("raw")), schema())[0]


@pytest.mark.parametrize("mapped", [False, True])
def test_a_dataset_reads_back_as_it_was_written(dataset: Dataset, tmp_path: Path, mapped: bool) -> None:
    write_dataset(dataset, tmp_path)
    again = read_dataset(tmp_path, mapped=mapped)
    assert again.schema == dataset.schema
    assert dataset.history is not None
    assert again.history is not None
    assert dataset.rates is not None
    assert again.rates is not None
    assert again.rates.names == dataset.rates.names
    pairs = [
        (dataset.users.ids, again.users.ids),
        (dataset.items.features.multi[0], again.items.features.multi[0]),
        (dataset.users.features.dense, again.users.features.dense),
        (dataset.history.observed, again.history.observed),
        (dataset.test.request, again.test.request),
        (dataset.test.context.sparse, again.test.context.sparse),
        (dataset.rates.user, again.rates.user),
    ]
    for before, after in pairs:
        assert before is not None
        assert after is not None
        assert before.dtype == after.dtype
        assert isinstance(after, np.memmap) == mapped
        np.testing.assert_array_equal(before, after)


def test_a_missing_array_is_a_fault_that_names_it(dataset: Dataset, tmp_path: Path) -> None:
    write_dataset(dataset, tmp_path)
    (tmp_path / "train" / "labels.npy").unlink()
    with pytest.raises(Fault, match=r"train/labels\.npy"):
        read_dataset(tmp_path)


def test_an_array_of_python_objects_is_never_loaded(dataset: Dataset, tmp_path: Path) -> None:
    write_dataset(dataset, tmp_path)
    np.save(tmp_path / "users" / "ids.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(Fault, match=r"users/ids\.npy"):
        read_dataset(tmp_path)
