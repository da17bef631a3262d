"""Options of the macro graph. Sources: MGOE (arXiv 2506.10520), MacGNN (arXiv 2401.14939) and its released code."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_SHARDS = 4096
"""Beyond it the pieces of a chunk that go to each shard get too small to be written fast."""


class GraphConfig(BaseModel):
    """How a log becomes a macro graph. Every field but `shards`, `memory_mb` and `threads` is part of the version."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: Literal["additive", "binary", "union"] = "additive"
    """rho of eq. (6). `union` forgets the task order: any positive counts 1 (ablation)."""
    beta: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    """Box-Cox exponent of eq. (6); below 1 compresses strong tasks, 1 keeps integers."""
    user_groups: Annotated[int, Field(ge=2, le=32767)] = 50
    item_groups: Annotated[int, Field(ge=2, le=32767)] = 50
    """Macro nodes, group 0 (padding and cold nodes) not counted."""
    item_grouping: Literal["cluster", "category"] = "cluster"
    category_feature: str | None = None
    """Sparse item feature whose codes are the item groups when item_grouping is `category`."""
    features: Literal["svd", "category", "folded"] = "svd"
    """What is clustered: rows of P Sig^2 (svd), or the category histogram S C_cat (category; MacGNN's practice).
    `folded`, for logs whose nodes do not fit in memory times the rank: the decomposition sees a sample of active users,
    all users are folded into it, and items are described by the groups of their users; nothing is kept per node."""
    svd_rank: Annotated[int, Field(ge=2)] = 64
    fold_users: Annotated[int, Field(ge=2)] = 131_072
    """Active users that `folded` decomposes."""
    fold_items: Annotated[int, Field(ge=2)] = 65_536
    """Their most scored items; others count for no user's features."""
    theta_quantile: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Nodes whose score degree is under this quantile are inactive (eq. 8)."""
    low_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of inactive nodes in the weighted K-means."""
    fit_sample: Annotated[int, Field(ge=1)] = 65536
    """Active nodes that the centroids are fitted on; all of them where there are fewer."""
    max_group_fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Cap on a cluster's share of the nodes."""
    top_k: Annotated[int, Field(ge=1)] = 64
    """Macro edges kept per node and hop; all of them where top_k >= the number of groups."""
    two_hop_top_k: Annotated[int, Field(ge=1)] = 64
    """Entries kept per item inside the two-hop product."""
    task_edges: bool = False
    """Also keep each task's own one-hop counts A_t C at the kept macro nodes (Side.task_log_count): what MGOE's soft
    macro task table reads, and what the merged scores cannot tell apart."""
    neighbour_means: bool = False
    """Also keep, per node, means over all its impressions (positive or not), and over its positives by score, of the
    rates and the exposure of the nodes at their other end (Side.neighbour_mean): a softmax over edges cannot carry
    magnitudes, and the merged graph holds no impression without a positive."""
    recent: Annotated[int, Field(ge=0)] = 20
    """Last positives kept per node (micro neighbours)."""
    snapshots: Literal["single", "daily"] = "single"
    """`single`: one graph at the first validation moment for all later rows; training rows read the one of history, or
    without history the one up to `fit_quantile`.
    `daily`: rows of a day read the graph of everything strictly before that day."""
    fit_quantile: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Grouping is fitted once, on interactions up to this quantile of the time before validation (history included),
    never past the first training row where there is a history. Without history only later rows may be trained on."""
    seed: Annotated[int, Field(ge=0)] = 0
    shards: Annotated[int, Field(ge=1, le=MAX_SHARDS)] = 1
    """Partitions by user and by item, at least; above 1 they live on disk. The graph is the same for any number."""
    memory_mb: Annotated[int, Field(ge=64)] = 2048
    """Working memory of whatever grows with the log, snapshots included (model.graph.memory says what comes on top); a
    log too large for it in one piece is cut into more shards."""
    threads: Annotated[int, Field(ge=1)] = 1
    """Shards that are worked on side by side, each with its own working memory."""
