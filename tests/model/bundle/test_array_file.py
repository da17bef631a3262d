from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model.bundle.array_file import compact, load_array, save_array
from model.errors import UserError

INTEGERS = arrays.arrays(np.int64, st.integers(0, 20), elements=st.integers(-(2**40), 2**40))
FLOATS = arrays.arrays(
    np.float32, st.integers(0, 20), elements=st.floats(-60_000, 60_000, width=16) | st.floats(-1e9, 1e9, width=32)
)


@given(INTEGERS | FLOATS)
def test_a_compact_array_has_the_very_same_values(array: np.ndarray) -> None:
    small = compact(array)
    np.testing.assert_array_equal(small.astype(array.dtype), array)
    assert small.dtype.itemsize <= array.dtype.itemsize


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([0, 127], np.int8), ([-129], np.int16), ([40_000], np.int32), ([2**40], np.int64), ([], np.int8)],
)
def test_integers_take_the_smallest_type(values: list[int], dtype: type) -> None:
    assert compact(np.array(values, dtype=np.int64)).dtype == dtype


def test_floats_halve_only_where_no_value_changes() -> None:
    assert compact(np.array([0.5, 2.0], np.float32)).dtype == np.float16
    assert compact(np.array([0.5, 0.1], np.float32)).dtype == np.float32
    assert compact(np.array([1e9], np.float32)).dtype == np.float32


@pytest.mark.parametrize("shape", [(5, 3), (5, 0), (0,), (0, 4)])
def test_a_mapped_array_becomes_a_tensor_without_copy_or_warning(tmp_path: Path, shape: tuple[int, ...]) -> None:
    save_array(tmp_path / "a.npy", np.ones(shape, np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        array = load_array(tmp_path / "a.npy")
        tensor = torch.from_numpy(array)
    assert tuple(tensor.shape) == shape
    assert isinstance(array, np.memmap)
    assert tensor.numel() == 0 or tensor.data_ptr() == array.ctypes.data


def test_what_is_written_to_a_mapped_array_never_reaches_the_file(tmp_path: Path) -> None:
    save_array(tmp_path / "a.npy", np.ones(1000))
    before = (tmp_path / "a.npy").read_bytes()
    array = load_array(tmp_path / "a.npy")
    array[:] = 7
    del array
    assert (tmp_path / "a.npy").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_what_is_no_array_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.npy holds no array"):
        load_array(tmp_path / "a.npy")


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"code": "runs"}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="holds no array"):
        load_array(tmp_path / "a.npy")
