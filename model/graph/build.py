"""The macro graph of a log: merge, group, count. One interface for a log in memory and for one streamed from disk.

Any number of shards gives the same graph: summed scores are multiples of a fixed grain (exact in any order), and dense
arithmetic goes by blocks of nodes that no shard decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.data.dataset import Dataset
from model.errors import UserError
from model.graph.config import GraphConfig
from model.graph.events import Catalogue, DatasetEvents, EventSource
from model.graph.features import category_histogram, co_interaction, fold, group_histogram
from model.graph.grouping import group_nodes, sample_of, theta_of
from model.graph.macro_graph import MacroGraph, Snapshot
from model.graph.memory import spending_for
from model.graph.pair_state import PairKeeper
from model.graph.partition import Cut, SideName, partition, survey
from model.graph.points import Points, StoredPoints, StreamedPoints
from model.graph.ranking import score_table, summable
from model.graph.score_matrix import ScoreMatrix, merged_scores
from model.graph.scratch import scratch
from model.graph.second_hop import fill_two_hop
from model.graph.sides import Plan, SideArrays, fill_neighbour_means, fill_one_hop
from model.graph.snapshots import Moments, moments_of
from model.graph.threads import Crew, Threads
from model.graph.version import version_of

Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]
Progress = Callable[[str], None]


def build(
    dataset: Dataset,
    config: GraphConfig,
    data_digest: str,
    progress: Progress | None = None,
    *,
    crew: Crew | None = None,
    out: Path | None = None,
) -> MacroGraph:
    """The graph of an encoded log held in memory. Raises UserError where the options do not fit the log."""
    source = DatasetEvents(dataset, category_feature(config))
    return build_with_pairs(source, config, data_digest, progress, keep=False, crew=crew, out=out).graph


def category_feature(config: GraphConfig) -> str | None:
    """The category feature that the options need. Raises UserError where they need one and name none."""
    if "category" not in (config.item_grouping, config.features):
        return None
    if config.category_feature is None:
        raise UserError("category_feature: grouping by category needs the name of a sparse item feature")
    return config.category_feature


@dataclass(frozen=True)
class Fixed:
    """Moments and groups that are given instead of found. group: int32 [n] by side."""

    moments: Moments
    group: dict[SideName, Int32]


@dataclass(frozen=True)
class Built:
    """pairs: what an update needs beside the graph, where it was asked for."""

    graph: MacroGraph
    pairs: PairKeeper | None = None


def build_from(
    source: EventSource, config: GraphConfig, data_digest: str, progress: Progress | None = None
) -> MacroGraph:
    """The graph of any event source, which is read twice; on disk and a shard at a time where shards are asked for."""
    return build_with_pairs(source, config, data_digest, progress, keep=False).graph


def build_with_pairs(
    source: EventSource,
    config: GraphConfig,
    data_digest: str,
    progress: Progress | None = None,
    *,
    keep: bool = True,
    fixed: Fixed | None = None,
    crew: Crew | None = None,
    out: Path | None = None,
) -> Built:
    """As `build_from`. keep: the merged pairs too, for `model.graph.update`. crew: who does the work of the
    shards instead of this process's threads. out: the folder that the graph will be written to; what a build on disk
    makes lies there at once."""
    tell = progress or (lambda stage: None)
    catalogue, pieces = source.catalogue, source.pieces()
    workers = crew or Threads(config.threads)
    n_nodes: dict[SideName, int] = {"user": catalogue.n_users, "item": catalogue.n_items}
    tell(f"survey {source.rows:,} rows")
    loads, times = survey(pieces, n_nodes, workers)
    moments = moments_of(source.span, times, config) if fixed is None else fixed.moments
    scores = summable(score_table(catalogue.levels, config.rank, config.beta))
    spending = spending_for(
        source.rows, sum(n_nodes.values()), len(catalogue.tasks), len(moments.as_of), config, workers.count
    )
    with scratch(spending.on_disk or workers.elsewhere, shared=workers.elsewhere) as place:
        tell(f"cut into {spending.shards} shard(s)")
        cut = Cut(spending.shards, moments.as_of[-1], spending.read)
        parts = partition(pieces, loads, cut, n_tasks=len(catalogue.tasks), place=place, crew=workers)
        tell("group nodes")
        if fixed is None:
            group = groups_of(merged_scores(parts, scores, moments.fit_cut, workers), catalogue, config)
        else:
            group = fixed.group
        keeper = PairKeeper(parts, len(catalogue.tasks)) if keep else None
        shown = {side: place.shown(of_side) for side, of_side in group.items()}
        plan = Plan(
            config,
            parts,
            moments.as_of,
            scores,
            shown,
            _n_groups(catalogue, config),
            spending,
            keeper,
            crew=workers,
            out=out,
        )
        sides = count_all(plan, tell)
    graph = MacroGraph(
        config=config,
        version=version_of(config, catalogue, moments, data_digest),
        tasks=catalogue.tasks,
        user_group=group["user"],
        item_group=group["item"],
        n_user_groups=plan.n_groups["user"],
        n_item_groups=plan.n_groups["item"],
        snapshots=snapshots_of(sides, moments.as_of),
        trainable_from=moments.trainable_from,
    )
    return Built(graph, keeper)


def count_all(plan: Plan, tell: Progress) -> dict[SideName, SideArrays]:
    """Everything that follows from groups, for both sides and all snapshots."""
    users, items = SideArrays(plan, "user"), SideArrays(plan, "item")
    tell(f"count one hop, {len(plan.as_of)} snapshot(s)")
    fill_one_hop(plan, "item", items)
    fill_one_hop(plan, "user", users)
    fill_neighbour_means(plan, "user", users, items)
    fill_neighbour_means(plan, "item", items, users)
    tell("count two hops")
    fill_two_hop(plan, "user", users, items)
    fill_two_hop(plan, "item", items, users)
    return {"user": users, "item": items}


def snapshots_of(sides: dict[SideName, SideArrays], as_of: tuple[int, ...]) -> tuple[Snapshot, ...]:
    """The filled arrays as snapshots."""
    return tuple(
        Snapshot(moment, sides["user"].side(number), sides["item"].side(number)) for number, moment in enumerate(as_of)
    )


def _n_groups(catalogue: Catalogue, config: GraphConfig) -> dict[SideName, int]:
    by_category = config.item_grouping == "category"
    return {"user": config.user_groups, "item": catalogue.n_categories if by_category else config.item_groups}


def groups_of(scores: ScoreMatrix, catalogue: Catalogue, config: GraphConfig) -> dict[SideName, Int32]:
    """Groups of both sides from the scores before the fit cut."""
    degree = scores.degree("user")
    points, points_given_users = _points(scores, degree, catalogue, config)
    users = group_nodes(points, degree, config.user_groups, config)
    if config.item_grouping == "category":
        return {"user": users, "item": _category(catalogue)}
    items = group_nodes(points_given_users(users), scores.degree("item"), config.item_groups, config)
    return {"user": users, "item": items}


def _points(
    scores: ScoreMatrix, degree: Float64, catalogue: Catalogue, config: GraphConfig
) -> tuple[Points, Callable[[Int32], Points]]:
    """What users are grouped by, and what items are, given the users' groups. degree: deg_S of users."""
    if config.features == "folded":
        active = np.flatnonzero(degree * (degree >= theta_of(degree, config.theta_quantile)))
        basis = fold(scores, sample_of(active, config.fold_users, config.seed), config)
        return StreamedPoints(scores, "user", basis.describe), lambda users: StreamedPoints(
            scores, "item", group_histogram(scores.place.shown(users), config.user_groups)
        )
    if config.features == "svd":
        features = co_interaction(scores, config.svd_rank, config.seed)
    else:
        features = category_histogram(scores, _category(catalogue), catalogue.n_categories)
    return StoredPoints(features["user"]), lambda users: StoredPoints(features["item"])


def _category(catalogue: Catalogue) -> Int32:
    if catalogue.item_category is None or catalogue.n_categories == 0:
        raise UserError("category_feature: the log holds no known category of any item")
    return catalogue.item_category
