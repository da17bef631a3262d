from pathlib import Path

import numpy as np
import pytest

from model.errors import Fault
from model.evaluation.predictions import PREDICTIONS_NAME, Predictions, read_predictions, write_predictions


def test_predictions_come_back_as_they_were_written(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    written = Predictions(
        tasks=("click", "like"),
        user=np.array([1, 2, 0], dtype=np.int32),
        item=np.array([3, 0, 1], dtype=np.int32),
        time=np.array([10, 20, 20], dtype=np.int64),
        labels=np.array([[1, 0], [0, 0], [1, 1]], dtype=np.uint8),
        observed=np.array([[True, True], [True, False], [True, True]]),
        scores=random.random((3, 2)).astype(np.float32),
        slices={"users": np.array(["users:warm", "users:warm", "users:cold"])},
    )
    write_predictions(written, tmp_path)
    read = read_predictions(tmp_path)
    assert read.tasks == written.tasks
    for name in ("user", "item", "time", "labels", "observed", "scores"):
        assert np.array_equal(getattr(read, name), getattr(written, name))
        assert getattr(read, name).dtype == getattr(written, name).dtype
    assert read.slices["users"].tolist() == written.slices["users"].tolist()


def test_a_broken_predictions_file_is_named(tmp_path: Path) -> None:
    (tmp_path / PREDICTIONS_NAME).write_bytes(b"not parquet")
    with pytest.raises(Fault, match=PREDICTIONS_NAME):
        read_predictions(tmp_path)
