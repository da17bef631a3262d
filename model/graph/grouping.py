"""Preference-based grouping, MGOE eq. (8): weighted K-means on active nodes, then all nodes with edges are assigned."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from model.graph.config import GraphConfig
from model.graph.kmeans import assign_capped, fit_centroids
from model.graph.points import Points

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


def node_weights(degree: Float64, theta: float, low_weight: float) -> Float64:
    """w_v [n] of eq. (8): 1 where deg_S(v) >= theta, else low_weight; nodes without edges weigh nothing."""
    return np.where(degree >= theta, 1.0, low_weight) * (degree > 0)


def theta_of(degree: Float64, quantile: float) -> float:
    """The quantile of deg_S over the nodes that have edges."""
    linked = degree[degree > 0]
    return float(np.quantile(linked, quantile)) if len(linked) else 0.0


def group_nodes(points: Points, degree: Float64, n_groups: int, config: GraphConfig) -> Int32:
    """Groups [n] in 1..n_groups; 0 for nodes without edges. points: of every node. degree: deg_S [n]."""
    group = np.zeros(len(degree), dtype=np.int32)
    linked = np.flatnonzero(degree > 0)
    if len(linked) == 0:
        return group
    weight = node_weights(degree, theta_of(degree, config.theta_quantile), config.low_weight)
    sample = sample_of(np.flatnonzero(weight > 0), config.fit_sample, config.seed)
    centroids = points.as_centroids(fit_centroids(points.rows(sample), weight[sample], n_groups, config.seed))
    cap = math.ceil(max(config.max_group_fraction * len(linked), len(linked) / n_groups))
    group[linked] = assign_capped(points.assign, linked, centroids, cap) + 1
    return group


def sample_of(nodes: Int64, size: int, seed: int) -> Int64:
    """At most `size` of the nodes, ascending."""
    if len(nodes) <= size:
        return nodes
    return np.sort(np.random.default_rng(seed).choice(nodes, size, replace=False))


def group_sizes(group: Int32, n_groups: int) -> Int64:
    """Nodes per group, [n_groups + 1]; row 0, which stands for the unknown, is not a node."""
    return np.bincount(group[1:], minlength=n_groups + 1)
