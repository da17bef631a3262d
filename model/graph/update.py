"""A graph brought up to date by the rows after its last moment: a rebuild from all rows with the same groups.

Edges, recents and degrees of one hop change for the nodes that the day gives an edge alone. The second hop of a node
changes with every partner of its partners, which for a day of a popular log is nearly everybody: it is either counted
anew from all pairs (`exact`), or left as it was (`later`), to be made up for by the next exact update.
Legend: n nodes of a side, R rows of a block, S new snapshots.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from model.errors import UserError
from model.graph.build import Progress, count_all, groups_of, snapshots_of
from model.graph.churn import Churn, churn, with_previous_ids
from model.graph.day_shards import DayShards, add_pairs, scores_before
from model.graph.events import Catalogue, EventSource
from model.graph.grown import grown_snapshot
from model.graph.macro_graph import MacroGraph, Snapshot
from model.graph.memory import spending_for
from model.graph.pair_state import PairKeeper, PairState
from model.graph.partition import SIDES, Cut, Loads, SideName, partition, survey
from model.graph.ranking import score_table, summable
from model.graph.score_matrix import ScoreMatrix
from model.graph.scratch import scratch
from model.graph.sides import Plan
from model.graph.snapshots import next_moments
from model.graph.threads import Crew, Threads
from model.graph.touched import renewed_where_touched
from model.graph.version import ALGORITHM

Int32 = npt.NDArray[np.int32]
TwoHop = Literal["exact", "later"]


@dataclass(frozen=True)
class Updated:
    """pairs: the state after the day. churn: by side, where groups were fitted anew. rows: that were added. log_end:
    after the last of them, which is before the last moment where the day was not over."""

    graph: MacroGraph
    pairs: PairKeeper
    churn: dict[SideName, Churn]
    rows: int
    log_end: int


@dataclass(frozen=True)
class UpdateOptions:
    """two_hop: whether the second hop is counted anew. regroup: fit groups on all before the day, keep ids by matching;
    snapshots before it, which are of the old groups, are dropped. keep: of the earlier snapshots, the last so many."""

    two_hop: TwoHop = "exact"
    regroup: bool = False
    keep: int | None = None


def update(
    graph: MacroGraph,
    state: PairState,
    day: EventSource,
    data_digest: str,
    options: UpdateOptions = UpdateOptions(),
    *,
    progress: Progress | None = None,
) -> Updated:
    """The graph with the day's rows in it and one more snapshot (daily: one for every local midnight that they reach).

    Raises UserError where the day does not fit the graph, or lies before its last moment.
    """
    tell, config = progress or (lambda stage: None), graph.config
    refuse_what_does_not_fit(graph, state, day, options)
    catalogue = _grown(day.catalogue, graph)
    tell(f"survey {day.rows:,} rows")
    crew = Threads(config.threads)
    loads = _survey(day, state, catalogue, crew)
    added = loads.rows
    add_pairs(loads, state)
    moments = next_moments(state.as_of, loads.last + 1, state.timezone, config)
    as_of = (state.as_of, *moments) if options.regroup else moments
    rows, nodes = day.rows + len(state.pairs["user"].other), catalogue.n_users + catalogue.n_items
    spending = spending_for(rows, nodes, len(graph.tasks), len(as_of), config)
    scores = summable(score_table(catalogue.levels, config.rank, config.beta))
    last = graph.snapshots[-1]
    with scratch(spending.on_disk) as place:
        tell(f"cut into {spending.shards} shard(s)")
        cut = Cut(spending.shards, moments[-1], spending.read)
        parts = partition(day.pieces(), loads, cut, n_tasks=len(graph.tasks), place=place, crew=crew)
        recent: dict[SideName, Int32] = {"user": last.user.recent, "item": last.item.recent}
        source = DayShards(state, parts, recent, touched_alone=options.two_hop == "later")
        group = _groups(graph, source.n_nodes)
        moved: dict[SideName, Churn] = {}
        if options.regroup:
            tell("group nodes")
            group, moved = _regrouped(graph, group, scores_before(source, scores, crew), catalogue)
        keeper = PairKeeper(source, len(graph.tasks))
        plan = Plan(config, source, as_of, scores, group, _n_groups(graph), spending, keeper, state, crew)
        if options.two_hop == "exact":
            sides = count_all(plan, tell)
        else:
            tell("count one hop of touched nodes")
            sides = {side: renewed_where_touched(plan, side, getattr(last, side)) for side in SIDES}
        kept = () if options.regroup else _kept(graph.snapshots, options.keep)
        earlier = tuple(grown_snapshot(snapshot, source.n_nodes, place) for snapshot in kept)
    updated = replace(
        graph,
        version=_version(graph, as_of, data_digest, options),
        user_group=group["user"],
        item_group=group["item"],
        snapshots=(*earlier, *snapshots_of(sides, as_of)),
        trainable_from=max(graph.trainable_from, state.as_of) if options.regroup else graph.trainable_from,
    )
    return Updated(updated, keeper, moved, added, loads.last + 1)


def _survey(day: EventSource, state: PairState, catalogue: Catalogue, crew: Crew) -> Loads:
    loads, _ = survey(day.pieces(), {"user": catalogue.n_users, "item": catalogue.n_items}, crew)
    if loads.first < state.inside_until:
        raise UserError(
            f"the log has a row at {loads.first}, and the graph holds all before {state.inside_until} already;"
            " --skip-inside leaves such rows out"
        )
    if loads.first < state.as_of:
        raise UserError(
            f"the log has a row at {loads.first}, but the graph's last day, which ends at {state.as_of}, was added up"
            f" to {state.log_end} alone: add the whole day to the graph before it"
        )
    if loads.first >= state.log_end > state.as_of:
        raise UserError(
            f"the log begins at {loads.first}, but the graph holds its own log's rows before {state.as_of} alone:"
            f" add those up to {state.log_end} with it"
        )
    return loads


def _regrouped(
    graph: MacroGraph, group: dict[SideName, Int32], before: ScoreMatrix, catalogue: Catalogue
) -> tuple[dict[SideName, Int32], dict[SideName, Churn]]:
    """New groups of all that lies before the day, under the ids of the old ones, and how far they moved."""
    found, renamed, moved = groups_of(before, catalogue, graph.config), {}, {}
    for side in SIDES:
        renamed[side] = with_previous_ids(group[side], found[side], _n_groups(graph)[side])
        moved[side] = churn(group[side], renamed[side], before.degree(side))
    return renamed, moved


def refuse_what_does_not_fit(graph: MacroGraph, state: PairState, day: EventSource, options: UpdateOptions) -> None:
    """Raises UserError where the day's schema is another one, or the graph's options allow no update."""
    catalogue = day.catalogue
    for what, of_graph, of_day in (
        ("tasks", " < ".join(graph.tasks), " < ".join(catalogue.tasks)),
        ("task levels", str(list(state.levels)), str(list(catalogue.levels))),
        ("timezone", state.timezone, day.span.timezone),
    ):
        if of_graph != of_day:
            raise UserError(f"the graph has the {what} {of_graph}, the log {of_day}: both need the same schema")
    if graph.config.neighbour_means:
        raise UserError(
            f"graph {graph.version} keeps neighbour means, which every row moves for every node;"
            " stream all of the log again, or build without neighbour_means"
        )
    if options.regroup and options.two_hop == "later":
        raise UserError("new groups change every second hop: --regroup needs --two-hop exact")


def _grown(catalogue: Catalogue, graph: MacroGraph) -> Catalogue:
    n_users, n_items = max(catalogue.n_users, len(graph.user_group)), max(catalogue.n_items, len(graph.item_group))
    return replace(catalogue, n_users=n_users, n_items=n_items)


def _n_groups(graph: MacroGraph) -> dict[SideName, int]:
    return {"user": graph.n_user_groups, "item": graph.n_item_groups}


def _groups(graph: MacroGraph, n_nodes: dict[SideName, int]) -> dict[SideName, Int32]:
    """The graph's groups; a node that it does not know is cold."""
    known: dict[SideName, Int32] = {"user": graph.user_group, "item": graph.item_group}
    return {side: np.pad(group, (0, n_nodes[side] - len(group))) for side, group in known.items()}


def _kept(snapshots: tuple[Snapshot, ...], keep: int | None) -> tuple[Snapshot, ...]:
    return snapshots if keep is None else snapshots[max(0, len(snapshots) - keep) :]


def _version(graph: MacroGraph, as_of: tuple[int, ...], data_digest: str, options: UpdateOptions) -> str:
    """Of the graph that it was, what was added and how."""
    identity = [ALGORITHM, graph.version, list(as_of), data_digest, options.two_hop, options.regroup, options.keep]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[: len(graph.version)]
