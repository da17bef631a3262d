"""A graph brought up to date by a day equals a rebuild from all rows with the same groups."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import UserError
from model.graph.artifact import read_graph, write_graph
from model.graph.build import Built, Fixed, build_with_pairs, groups_of
from model.graph.config import GraphConfig
from model.graph.macro_graph import MacroGraph
from model.graph.pair_state import PairState, read_state
from model.graph.partition import SIDES, Cut, SideName, partition, survey
from model.graph.ranking import score_table, summable
from model.graph.score_matrix import merged_scores
from model.graph.scratch import Scratch
from model.graph.snapshots import Moments
from model.graph.threads import Threads
from model.graph.update import Updated, UpdateOptions, update
from tests.model.graph.equality import differences, graph_differences
from tests.model.graph.logs import DAY, START
from tests.model.graph.rows import LEVELS, Rows, random_rows

CONFIG = GraphConfig(
    user_groups=6, item_groups=5, svd_rank=6, recent=3, top_k=4, two_hop_top_k=3, task_edges=True, fit_quantile=0.3
)
DAILY = CONFIG.model_copy(update={"snapshots": "daily"})
LATER = UpdateOptions(two_hop="later")


def stored(built: Built | Updated, folder: Path) -> tuple[MacroGraph, PairState]:
    """The graph and its state, written and read again."""
    assert built.pairs is not None
    write_graph(built.graph, folder)
    built.pairs.write(folder, built.graph.snapshots[-1].as_of, LEVELS, "Asia/Shanghai")
    return read_graph(folder), read_state(folder)


def base_of(log: Rows, config: GraphConfig, folder: Path) -> tuple[MacroGraph, PairState]:
    return stored(build_with_pairs(log, config, "base"), folder)


def rebuilt(log: Rows, graph: MacroGraph, folder: Path) -> tuple[MacroGraph, PairState]:
    """All rows, counted with the groups and at the moments of `graph`."""
    group: dict[SideName, np.ndarray] = {"user": graph.user_group, "item": graph.item_group}
    moments = Moments(0, graph.trainable_from, tuple(snapshot.as_of for snapshot in graph.snapshots))
    fixed = Fixed(moments, {side: np.array(of_side) for side, of_side in group.items()})
    return stored(build_with_pairs(log, graph.config, "all", fixed=fixed), folder)


def state_differences(left: PairState, right: PairState) -> list[str]:
    assert left.as_of == right.as_of
    return [
        f"{part}.{side}.{name}"
        for part in ("pairs", "counts")
        for side in SIDES
        for name in differences(getattr(left, part)[side], getattr(right, part)[side])
    ]


@settings(max_examples=14, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cut=st.floats(0.3, 0.95),
    daily=st.booleans(),
    shards=st.sampled_from([1, 1, 3, 7]),
    beta=st.sampled_from([0.0, 1.0, -1.0]),
)
def test_an_update_equals_a_rebuild_from_all_rows_with_the_same_groups(
    seed: int, cut: float, daily: bool, shards: int, beta: float
) -> None:
    log = random_rows(seed)
    moment = START + int(cut * 4 * DAY)
    config = (DAILY if daily else CONFIG).model_copy(update={"shards": shards, "threads": 1 + seed % 2, "beta": beta})
    with tempfile.TemporaryDirectory() as folder:
        old = replace(log, validate_from=moment).within(0, moment)
        graph, state = base_of(old, config, Path(folder, "base"))
        day = log.within(state.as_of, 2**40)
        now, its_state = stored(update(graph, state, day, "day", UpdateOptions()), Path(folder, "updated"))
        assert len(now.snapshots) > len(graph.snapshots)
        again, all_state = rebuilt(log, now, Path(folder, "rebuilt"))
        assert graph_differences(now, again) == []
        assert state_differences(its_state, all_state) == []


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), daily=st.booleans(), shards=st.sampled_from([1, 4]))
def test_an_update_that_leaves_the_second_hop_for_later_equals_a_rebuild_in_all_else(
    seed: int, daily: bool, shards: int
) -> None:
    log, moment = random_rows(seed), START + 3 * DAY
    config = (DAILY if daily else CONFIG).model_copy(update={"shards": shards})
    with tempfile.TemporaryDirectory() as folder:
        graph, state = base_of(replace(log, validate_from=moment).within(0, moment), config, Path(folder, "base"))
        day = log.within(state.as_of, 2**40)
        now, its_state = stored(update(graph, state, day, "day", LATER), Path(folder, "updated"))
        again, all_state = rebuilt(log, now, Path(folder, "rebuilt"))
        different = graph_differences(now, again)
        assert different
        assert all("hop2" in name for name in different)
        assert state_differences(its_state, all_state) == []
        before, after = graph.snapshots[-1].user.hop2.macro, now.snapshots[-1].user.hop2.macro
        assert np.array_equal(after[: len(before)], before)
        assert not after[len(before) :].any()


def test_days_one_after_the_other_are_all_rows_at_once_whatever_way_the_second_hop_went(tmp_path: Path) -> None:
    log, first = random_rows(5), START + 2 * DAY
    graph, state = base_of(replace(log, validate_from=first).within(0, first), CONFIG, tmp_path / "base")
    for number, options in enumerate((LATER, UpdateOptions(), LATER, UpdateOptions(keep=2))):
        day = log.within(state.as_of, first + (number + 1) * DAY // 2)
        graph, state = stored(update(graph, state, day, "day", options), tmp_path / str(number))
    assert len(graph.snapshots) == 3
    last = replace(graph, snapshots=graph.snapshots[-1:])
    again, all_state = rebuilt(log, last, tmp_path / "rebuilt")
    assert graph_differences(last, again) == []
    assert state_differences(state, all_state) == []


@pytest.mark.parametrize("features", ["svd", "folded"])
def test_regrouping_is_a_rebuild_that_fits_before_the_day_under_the_ids_of_the_old_groups(
    features: str, tmp_path: Path
) -> None:
    log, moment = random_rows(8, rows=3000, users=150, items=80), START + 3 * DAY
    config = CONFIG.model_copy(update={"features": features, "fold_users": 120, "fold_items": 60, "shards": 3})
    graph, state = base_of(replace(log, validate_from=moment).within(0, moment), config, tmp_path / "base")
    made = update(graph, state, log.within(moment, 2**40), "day", UpdateOptions(regroup=True))
    now, _ = stored(made, tmp_path / "updated")
    assert [snapshot.as_of for snapshot in now.snapshots] == [moment, log.span.end]
    assert now.trainable_from == moment
    again, _ = rebuilt(log, now, tmp_path / "rebuilt")
    assert graph_differences(now, again) == []
    for side, old, new in (
        ("user", graph.user_group, now.user_group),
        ("item", graph.item_group, now.item_group),
    ):
        both = (old > 0) & (new[: len(old)] > 0)
        overlap = np.zeros((7, 7), int)
        np.add.at(overlap, (old[both], new[: len(old)][both]), 1)
        assert overlap.trace() == max(overlap[:, order].trace() for order in _orders(len(overlap)))
        moved = made.churn[side]  # type: ignore[index]
        assert moved.moved == pytest.approx(1 - overlap.trace() / both.sum())
        assert 0 < moved.weighted < 1


def _orders(n: int) -> list[list[int]]:
    """All orders of the groups, group 0 staying."""
    return [[0, *order] for order in itertools.permutations(range(1, n))]


def test_groups_fitted_anew_on_the_same_rows_keep_all_their_ids(tmp_path: Path) -> None:
    log, moment = random_rows(3), START + 3 * DAY
    old = replace(log, validate_from=moment).within(0, moment)
    config = CONFIG.model_copy(update={"fit_quantile": 0.999})
    graph, state = base_of(old, config, tmp_path / "base")
    group = groups_as_of(old, moment, config)
    regrouped = replace(graph, user_group=group["user"], item_group=group["item"])
    made = update(regrouped, state, log.within(moment, 2**40), "day", UpdateOptions(regroup=True))
    assert np.array_equal(made.graph.user_group[: len(graph.user_group)], group["user"])
    assert made.churn["user"].moved == made.churn["item"].weighted == 0.0


def groups_as_of(log: Rows, moment: int, config: GraphConfig) -> dict[SideName, np.ndarray]:
    loads, _ = survey(log.pieces(), {"user": log.catalogue.n_users, "item": log.catalogue.n_items}, Threads())
    parts = partition(log.pieces(), loads, Cut(1, moment), n_tasks=3, place=Scratch(None), crew=Threads())
    scores = merged_scores(parts, summable(score_table(LEVELS, config.rank, config.beta)), moment, Threads())
    return groups_of(scores, log.catalogue, config)


def test_what_does_not_fit_the_graph_is_refused_in_one_line(tmp_path: Path) -> None:
    log, moment = random_rows(1), START + 3 * DAY
    old = replace(log, validate_from=moment).within(0, moment)
    graph, state = base_of(old, CONFIG, tmp_path / "base")
    day = log.within(moment, 2**40)
    for wrong, says in (
        (replace(day, tasks=("click", "buy", "cart")), "tasks click < cart < buy, the log click < buy < cart"),
        (replace(day, levels=(1, 2, 2)), r"task levels \[1, 2, 3\], the log \[1, 2, 2\]"),
        (replace(day, timezone="Europe/Berlin"), "timezone Asia/Shanghai, the log Europe/Berlin"),
        (log.within(moment - DAY, 2**40), f"the graph holds all before {moment} already"),
    ):
        with pytest.raises(UserError, match=says):
            update(graph, state, wrong, "day")
    with pytest.raises(UserError, match="--regroup needs --two-hop exact"):
        update(graph, state, day, "day", UpdateOptions(two_hop="later", regroup=True))
    means = replace(graph, config=CONFIG.model_copy(update={"neighbour_means": True}))
    with pytest.raises(UserError, match="keeps neighbour means"):
        update(means, state, day, "day")
