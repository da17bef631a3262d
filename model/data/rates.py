"""What history and the days strictly before say of every node: counts and smoothed rates, day by day. Pure.

Legend: S moments, n nodes of a side, T tasks, N rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from model.data.dataset import Float32, HistoryRates, Int32, Int64, Interactions
from model.data.mapped_pages import drop_pages

Float64 = npt.NDArray[np.float64]

PRIOR_STRENGTH = 10.0
"""Impressions that the global rate counts for in a node's own rate."""


def history_rates(
    parts: Sequence[Interactions],
    as_of: Int64,
    n_users: int,
    n_items: int,
    *,
    tasks: tuple[str, ...],
    prior_strength: float = PRIOR_STRENGTH,
) -> HistoryRates:
    """Rates of both sides at the moments `as_of` [S], each from the rows of `parts` with time < moment, and no other.

    Per task: log1p of observed impressions, log1p of positives, and the rate as a logit centred on the global one at
    that moment, under a Beta(a g, a (1 - g)) prior with the global rate g and strength a (0 for a node without a row).
    """
    user = _side([part.user for part in parts], parts, as_of, n_users, prior_strength)
    item = _side([part.item for part in parts], parts, as_of, n_items, prior_strength)
    names = tuple(f"{kind}:{task}" for task in tasks for kind in ("log_impressions", "log_positives", "centred_logit"))
    return HistoryRates(as_of=as_of, user=user, item=item, names=names)


def _side(nodes: list[Int32], parts: Sequence[Interactions], as_of: Int64, n: int, strength: float) -> Float32:
    """float32 [S, n, 3 T]."""
    n_tasks = parts[0].labels.shape[1]
    rates = np.zeros((len(as_of), n, 3 * n_tasks), dtype=np.float32)
    for task in range(n_tasks):
        seen, positive = np.zeros(n), np.zeros(n)
        since = np.iinfo(np.int64).min
        for place, moment in enumerate(as_of):
            for node, part in zip(nodes, parts, strict=True):
                fresh = slice(*np.searchsorted(part.time, [since, moment]))
                known = part.observed[fresh, task]
                seen += np.bincount(node[fresh][known], minlength=n)
                positive += np.bincount(node[fresh][known], weights=part.labels[fresh, task][known], minlength=n)
                for array in (node, part.time, part.labels, part.observed):
                    drop_pages(array)
            rates[place, :, 3 * task : 3 * task + 3] = _describe(seen, positive, strength)
            since = moment
    # Row 0 stands for nodes that nothing is known of, whatever rows happened to fall on it.
    rates[:, 0] = 0.0
    return rates


def centred_logit(seen_n: Float64, positive_n: Float64, strength: float = PRIOR_STRENGTH) -> Float64:
    """The smoothed rate of every node [n] as a logit, minus the global one's: 0 for a node without a row."""
    return centred_logits(seen_n, positive_n, float(global_rate(seen_n.sum(), positive_n.sum())), strength)


def global_rate(seen: npt.ArrayLike, positive: npt.ArrayLike) -> Float64:
    """Of all rows together; half a positive and half a negative keep it off 0 and 1."""
    return np.asarray((np.asarray(positive) + 0.5) / (np.asarray(seen) + 1.0))


def centred_logits(seen_n: Float64, positive_n: Float64, rate: float, strength: float = PRIOR_STRENGTH) -> Float64:
    """As `centred_logit`, where the global rate is known and the nodes [n] may be some of all."""
    own_n = (positive_n + strength * rate) / (seen_n + strength)
    centred_n: Float64 = np.log(own_n / (1 - own_n)) - np.log(rate / (1 - rate))
    return centred_n


def _describe(seen_n: Float64, positive_n: Float64, strength: float) -> Float32:
    """float32 [n, 3]."""
    centred_n = centred_logit(seen_n, positive_n, strength)
    return np.stack([np.log1p(seen_n), np.log1p(positive_n), centred_n], axis=1).astype(np.float32)
