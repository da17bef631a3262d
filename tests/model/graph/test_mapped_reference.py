"""Arrays told to another process by their place in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.graph.mapped_reference import attach, reference_of
from model.graph.scratch import Scratch


def test_what_is_written_through_a_reference_is_seen_by_the_array_itself(tmp_path: Path) -> None:
    array = Scratch(tmp_path, shared=True).zeros((6, 4), np.int32)
    found = reference_of(array[2:, 1::2])
    assert found is not None
    there = attach(found)
    there[...] = np.arange(8).reshape(4, 2)
    assert array[2:, 1::2].tolist() == there.tolist()
    assert array.sum() == np.arange(8).sum()


def test_an_array_of_a_file_is_attached_read_only(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(10_000).reshape(100, 100))
    array = np.load(tmp_path / "a.npy", mmap_mode="r")
    found = reference_of(array[7:9].T)
    assert found is not None
    there = attach(found)
    assert np.array_equal(there, np.asarray(array[7:9]).T)
    assert not there.flags.writeable


def test_a_reference_holds_in_a_process_of_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    array = Scratch(Path(), shared=True).zeros((3,), np.int32, path=Path("graph.npy"))
    found = reference_of(array)
    assert found is not None
    assert Path(found.path) == tmp_path / "graph.npy"


def test_arrays_in_memory_and_files_without_a_name_have_no_reference(tmp_path: Path) -> None:
    assert reference_of(np.arange(3)) is None
    assert reference_of(Scratch(tmp_path).zeros((3,), np.int32)) is None
    assert reference_of(Scratch(tmp_path, shared=True).zeros((0, 3), np.int32)) is None
