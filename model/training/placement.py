"""Which worker holds which columns of which id table: a pure function, so that every worker finds the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.errors import UserError

LANE = 4
"""fbgemm's kernels read rows in steps of so many numbers."""


@dataclass(frozen=True)
class Block:
    """Columns first .. first + width of a table, and the rank of the worker that holds them."""

    first: int
    width: int
    rank: int


def place(tables: Mapping[str, tuple[int, int]], workers: int, blocks: int) -> dict[str, tuple[Block, ...]]:
    """Blocks of every table, in the order of their columns.

    tables: name -> (rows, width). blocks: how many of equal width a table is cut into (1: table-wise). The largest go
    first, each to the worker with the least so far, so that memory is even; how a table is cut does not depend on the
    number of workers. Raises UserError for a width that cannot be cut so.
    """
    load = [0] * workers
    placed: dict[str, tuple[Block, ...]] = {}
    for name, (rows, width) in sorted(tables.items(), key=lambda item: (-item[1][0] * item[1][1], item[0])):
        if width % (blocks * LANE):
            raise UserError(
                f"id table {name} has {width} columns, which cannot be cut into {blocks} equal blocks "
                f"of a multiple of {LANE}: change inputs.id_dim or column_blocks"
            )
        own = []
        for number in range(blocks):
            rank = load.index(min(load))
            load[rank] += rows * width // blocks
            own.append(Block(number * (width // blocks), width // blocks, rank))
        placed[name] = tuple(own)
    return placed
