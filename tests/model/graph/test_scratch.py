"""Working arrays in memory and on disk."""

from __future__ import annotations

import gc
from copy import copy
from pathlib import Path

import numpy as np
import pytest

from model.data.mapped_pages import drop_pages
from model.graph.mapped_reference import reference_of
from model.graph.scratch import Scratch, scratch


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_region_is_its_pieces_one_behind_the_other(tmp_path: Path, on_disk: bool) -> None:
    place = Scratch(tmp_path if on_disk else None)
    regions = place.regions(np.int32, np.array([4, 5, 0, 2]))
    for number, piece in ((1, [1, 2, 3]), (3, [7, 8]), (1, []), (1, [4])):
        regions.append(number, np.array(piece, dtype=np.int64))
    for found in (regions.read, regions.whole):
        assert [found(number).tolist() for number in range(4)] == [[], [1, 2, 3, 4], [], [7, 8]]
        assert found(1).dtype == np.int32
    with pytest.raises(RuntimeError, match="region 3 is full"):
        regions.append(3, np.array([9]))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_any_number_of_regions_takes_one_open_file(tmp_path: Path) -> None:
    place, before = Scratch(tmp_path), open_files()
    record = np.dtype([("own", "<u4"), ("mask", "<u1")])
    regions = place.regions(record, np.full(5000, 3))
    for number in range(5000):
        regions.append(number, np.array([(number, 1)] * 2, record))
    assert regions.read(4999)["own"].tolist() == [4999, 4999]
    assert open_files() == before + 1
    del regions
    assert open_files() == before


def test_released_memory_is_read_again_from_the_files(tmp_path: Path) -> None:
    place = Scratch(tmp_path)
    array, regions = place.zeros((100_000,), np.int64), place.regions(np.int64, np.array([100_000]))
    array[:] = np.arange(100_000)
    regions.append(0, array)
    mapped = regions.whole(0)
    assert mapped.sum() == array.sum()
    place.release()
    drop_pages(mapped[5:])
    assert np.array_equal(mapped, np.arange(100_000))
    assert np.array_equal(array, mapped)


def test_a_mapped_array_has_no_name_that_could_be_left_behind(tmp_path: Path) -> None:
    place = Scratch(tmp_path)
    array = place.zeros((3, 2), np.float64)
    array[1] = 7
    assert list(tmp_path.iterdir()) == []
    assert array.tolist() == [[0, 0], [7, 7], [0, 0]]


def test_a_shared_file_goes_with_the_last_array_or_regions_of_it(tmp_path: Path) -> None:
    place = Scratch(tmp_path, shared=True)
    array, regions = place.zeros((9,), np.int64), place.regions(np.int64, np.array([5]))
    regions.append(0, np.arange(3))
    part, whole = array[3:], regions.whole(0)
    assert len(list(tmp_path.iterdir())) == 3
    del array, regions
    for kept in (part, whole):
        found = reference_of(kept)
        assert found is not None
        assert Path(found.path).is_file()
    del part, whole, kept
    assert list(tmp_path.iterdir()) == []


def test_regions_told_to_another_process_leave_their_file_to_the_one_that_made_it(tmp_path: Path) -> None:
    regions = Scratch(tmp_path, shared=True).regions(np.int64, np.array([5]))
    told = copy(regions)
    told.append(0, np.arange(3))
    del told
    gc.collect()
    assert regions.read(0).tolist() == [0, 1, 2]
    assert len(list(tmp_path.iterdir())) == 2


def test_memory_needs_no_folder_and_the_disk_has_one_that_goes_again() -> None:
    with scratch(on_disk=False) as place:
        assert place.folder is None
    with scratch(on_disk=True) as place:
        assert place.folder is not None
        folder = place.folder
        assert folder.is_dir()
    assert not folder.exists()
