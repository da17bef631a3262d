"""Tables are dealt evenly, whole, and the same way on every worker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import UserError
from model.training.placement import LANE, place

TABLES = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(1, 1000), st.integers(1, 4)), min_size=1)


@given(tables=TABLES, workers=st.integers(1, 5), blocks=st.integers(1, 4))
def test_blocks_cover_every_table_once_and_no_worker_has_a_block_more_than_needed(
    tables: dict[str, tuple[int, int]], workers: int, blocks: int
) -> None:
    shapes = {name: (rows, lanes * LANE * blocks) for name, (rows, lanes) in tables.items()}
    placed = place(shapes, workers, blocks)
    load = [0] * workers
    for name, (rows, width) in shapes.items():
        assert [block.first for block in placed[name]] == [n * width // blocks for n in range(blocks)]
        assert sum(block.width for block in placed[name]) == width
        for block in placed[name]:
            load[block.rank] += rows * block.width
    largest = max(rows * width // blocks for rows, width in shapes.values())
    assert max(load) - min(load) <= largest


@given(workers=st.integers(1, 5))
def test_how_a_table_is_cut_does_not_depend_on_the_workers(workers: int) -> None:
    columns = [(block.first, block.width) for block in place({"id": (10, 16)}, workers, 2)["id"]]
    assert columns == [(0, 8), (8, 8)]


def test_a_width_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(UserError, match=r"id table user\.id has 12 columns, which cannot be cut into 2 equal blocks"):
        place({"user.id": (10, 12)}, 2, 2)
