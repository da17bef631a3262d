"""Working arrays in memory and on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.graph.scratch import Scratch, scratch


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_growing_array_is_its_pieces_one_behind_the_other(tmp_path: Path, on_disk: bool) -> None:
    place = Scratch(tmp_path if on_disk else None)
    growing, empty = place.growing(np.int32), place.growing(np.float32)
    for piece in ([1, 2, 3], [], [4]):
        growing.append(np.array(piece, dtype=np.int64))
    whole = growing.whole()
    assert whole.dtype == np.int32
    assert whole.tolist() == [1, 2, 3, 4]
    assert empty.whole().tolist() == []


def test_a_mapped_array_has_no_name_that_could_be_left_behind(tmp_path: Path) -> None:
    place = Scratch(tmp_path)
    array = place.zeros((3, 2), np.float64)
    array[1] = 7
    assert list(tmp_path.iterdir()) == []
    assert array.tolist() == [[0, 0], [7, 7], [0, 0]]


def test_one_shard_needs_no_folder_and_more_get_one_that_goes_again() -> None:
    with scratch(1) as place:
        assert place.folder is None
    with scratch(2) as place:
        assert place.folder is not None
        folder = place.folder
        assert folder.is_dir()
    assert not folder.exists()
