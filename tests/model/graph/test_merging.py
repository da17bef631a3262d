"""Merged pairs are sets of tasks: order and repetition of events are nothing to them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import UserError
from model.graph.merging import Edges, merge

N_OTHER = 5
EVENTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, N_OTHER - 1), st.integers(0, 7)), max_size=60)


def merged(events: list[tuple[int, int, int]]) -> Edges:
    own, other, mask = (np.array(column) for column in zip(*events, strict=True)) if events else ([], [], [])
    return merge(np.array(own, np.int32), np.array(other, np.int32), np.array(mask, np.uint32), N_OTHER)


def as_dict(edges: Edges) -> dict[tuple[int, int], int]:
    keys = zip(edges.own.tolist(), edges.other.tolist(), strict=True)
    return dict(zip(keys, edges.mask.tolist(), strict=True))


@given(EVENTS)
def test_a_pair_holds_every_task_that_any_of_its_events_held(events: list[tuple[int, int, int]]) -> None:
    literal: dict[tuple[int, int], int] = {}
    for own, other, mask in events:
        if mask and other:
            literal[own, other] = literal.get((own, other), 0) | mask
    found = as_dict(merged(events))
    assert found == literal
    assert list(found) == sorted(found)


@given(EVENTS)
def test_order_and_repetition_of_events_change_nothing(events: list[tuple[int, int, int]]) -> None:
    shuffled = events + events[: len(events) // 2]
    order = np.random.default_rng(len(events)).permutation(len(shuffled))
    assert as_dict(merged([shuffled[place] for place in order])) == as_dict(merged(events))


@given(EVENTS, EVENTS)
def test_merging_merged_parts_is_merging_the_whole(
    first: list[tuple[int, int, int]], second: list[tuple[int, int, int]]
) -> None:
    parts = [(u, i, m) for part in (first, second) for (u, i), m in as_dict(merged(part)).items()]
    assert as_dict(merged(parts)) == as_dict(merged(first + second))


def test_more_pairs_than_a_key_can_number_are_refused() -> None:
    with pytest.raises(UserError, match="more shards"):
        merge(np.array([2**31 - 1], np.int32), np.array([1], np.int32), np.array([7], np.uint32), 2**31)
