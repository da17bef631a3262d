"""One side of a snapshot in plain Python loops: what the fast build must equal."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

from model.data.dataset import Dataset
from model.graph.macro_graph import Float16, MacroGraph, MacroIndex
from model.graph.ranking import score_table


@dataclass
class LiteralSide:
    """Per node of one side: counts by macro node, merged and by task, dominant, recents with scores, rows."""

    hop1: dict[int, dict[int, float]]
    hop2: dict[int, dict[int, float]]
    by_task: dict[int, list[dict[int, int]]]
    dominant: dict[int, list[int]]
    recent: dict[int, list[tuple[int, float]]]
    exposures: dict[int, int]
    positives: dict[int, list[int]]


def events_before(dataset: Dataset, moment: int) -> list[tuple[int, int, int, int]]:
    """(time, user, item, mask) of all rows strictly before a moment, oldest first."""
    rows = []
    for part in (dataset.history, dataset.train, dataset.validate, dataset.test):
        if part is None:
            continue
        for row in range(len(part)):
            mask = sum(1 << t for t in range(part.labels.shape[1]) if part.labels[row, t] and part.observed[row, t])
            rows.append((int(part.time[row]), int(part.user[row]), int(part.item[row]), mask))
    return sorted((row for row in rows if row[0] < moment), key=lambda row: row[0])


def literal_side(graph: MacroGraph, dataset: Dataset, moment: int, *, users: bool) -> LiteralSide:
    levels = [task.level for task in dataset.schema.tasks]
    scores = score_table(levels, graph.config.rank, graph.config.beta)
    own_group, other_group = (graph.user_group, graph.item_group) if users else (graph.item_group, graph.user_group)
    masks: dict[tuple[int, int], int] = defaultdict(int)
    last: dict[tuple[int, int], int] = {}
    exposures: dict[int, int] = defaultdict(int)
    positives: dict[int, list[int]] = defaultdict(lambda: [0] * len(levels))
    for order, (_, user, item, mask) in enumerate(events_before(dataset, moment)):
        own, other = (user, item) if users else (item, user)
        if own:
            exposures[own] += 1
            positives[own] = [count + (mask >> t & 1) for t, count in enumerate(positives[own])]
        if own and other and mask:
            masks[own, other] |= mask
            last[own, other] = order
    hop1: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    back: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    by_task: dict[int, list[dict[int, int]]] = defaultdict(lambda: [defaultdict(int) for _ in levels])
    recent: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for (own, other), mask in masks.items():
        if other_group[other]:
            hop1[own][int(other_group[other])] += scores[mask]
            for t in range(len(levels)):
                by_task[own][t][int(other_group[other])] += mask >> t & 1
        back[other][int(own_group[own])] += scores[mask]
        recent[own].append((last[own, other], other))
    hop2: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for (own, other), mask in masks.items():
        for macro, count in back[other].items():
            if macro:
                hop2[own][macro] += scores[mask] * count
    return LiteralSide(
        hop1=hop1,
        hop2=hop2,
        by_task=by_task,
        dominant={own: [_argmax(counts) for counts in tables] for own, tables in by_task.items()},
        recent={
            own: [(other, scores[masks[own, other]]) for _, other in sorted(pairs, reverse=True)[: graph.config.recent]]
            for own, pairs in recent.items()
        },
        exposures=exposures,
        positives=positives,
    )


def _argmax(counts: dict[int, int]) -> int:
    best = max(counts.values(), default=0)
    return min((macro for macro, count in counts.items() if count == best), default=0) if best else 0


def log_counts(macro: MacroIndex, log_count: Float16) -> dict[int, float]:
    """One node's kept edges as {macro: log1p count}, padding left out."""
    return {int(m): float(c) for m, c in zip(macro, log_count, strict=True) if m}


def expected_log_counts(counts: dict[int, float]) -> dict[int, float]:
    return {macro: math.log1p(count) for macro, count in counts.items() if count > 0}


def literal_means(graph: MacroGraph, dataset: Dataset, moment: int, node: int, *, users: bool) -> list[float]:
    """One node's neighbour means by definition: every impression before the moment, one by one."""
    n_tasks = len(dataset.schema.tasks)
    scores = score_table([task.level for task in dataset.schema.tasks], graph.config.rank, graph.config.beta)
    parts = [part for part in (dataset.history, dataset.train, dataset.validate, dataset.test) if part is not None]
    rows = [(part, row) for part in parts for row in range(len(part)) if part.time[row] < moment]
    seen: dict[int, list[list[int]]] = defaultdict(lambda: [[0, 0] for _ in range(n_tasks)])
    exposure: dict[int, int] = defaultdict(int)
    partners: list[tuple[int, int]] = []
    for part, row in rows:
        user, item = int(part.user[row]), int(part.item[row])
        own, other = (user, item) if users else (item, user)
        if own == node and other:
            mask = sum(1 << t for t in range(n_tasks) if part.observed[row, t] and part.labels[row, t])
            partners.append((other, mask))
        if other:
            exposure[other] += 1
            for t in range(n_tasks):
                seen[other][t][0] += int(part.observed[row, t])
                seen[other][t][1] += int(part.observed[row, t] and part.labels[row, t])
    total = [
        [(sum(p[t][1] for p in seen.values()) + 0.5), (sum(p[t][0] for p in seen.values()) + 1.0)]
        for t in range(n_tasks)
    ]
    average = sum(n * math.log1p(n) for n in exposure.values()) / max(1, sum(exposure.values()))
    means: list[float] = []
    for weights in ([1.0] * len(partners), [float(scores[mask]) for _, mask in partners]):
        sums = [0.0] * (n_tasks + 1)
        for (other, _), weight in zip(partners, weights, strict=True):
            for t in range(n_tasks):
                rate = total[t][0] / total[t][1]
                own_rate = (seen[other][t][1] + 10 * rate) / (seen[other][t][0] + 10)
                sums[t] += weight * (math.log(own_rate / (1 - own_rate)) - math.log(rate / (1 - rate)))
            sums[n_tasks] += weight * (math.log1p(exposure[other]) - average)
        means += [value / (sum(weights) + 2) for value in sums]
    return means
