"""What every architecture reads and returns.

Legend: B rows, T tasks, F sparse features, G dense features, M values of a multi-valued feature, k macro edges,
L recents. A score is split in two halves so that serving computes the user's half once per request and keeps item
halves in a cache.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn

from model.nets.id_table import IdReads

Half = dict[str, Tensor]
"""Named tensors whose first dimension is the row; all that score() needs of one side."""


@dataclass(frozen=True)
class FeatureCards:
    """Sizes of one owner's features. sparse, multi: vocabulary size per feature (code 0 = unknown). dense: how many."""

    sparse: tuple[int, ...] = ()
    multi: tuple[int, ...] = ()
    dense: int = 0


@dataclass(frozen=True)
class GraphCards:
    """Sizes of the macro graph: K_U and K_I without group 0. means: columns of the neighbour means, 0 without.

    task_edges: whether it holds the counts of every task's own graph.
    """

    n_user_groups: int
    n_item_groups: int
    means: int = 0
    task_edges: bool = False


@dataclass(frozen=True)
class InputSpec:
    """All sizes an architecture needs to build its tables. n_users, n_items include row 0.

    given: per task, the index of the task it is conditional on, or None when it is defined on the entire space.
    """

    tasks: tuple[str, ...]
    n_users: int
    n_items: int
    user: FeatureCards
    item: FeatureCards
    context: FeatureCards
    graph: GraphCards | None = None
    given: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class EdgeBatch:
    """macro_Bk: int64, macro node (0 = padding). log_count_Bk: float, log1p of the count, 0 where padded."""

    macro_Bk: Tensor
    log_count_Bk: Tensor


@dataclass(frozen=True)
class GraphBatch:
    """The graph's view of B nodes of one side; fields as in model.graph.macro_graph.Side.

    task_log_count_BkT: float, at the macro nodes of hop1; None where the graph was built without task edges.
    """

    group_B: Tensor
    hop1: EdgeBatch
    hop2: EdgeBatch
    dominant_BT: Tensor
    recent_BL: Tensor
    recent_score_BL: Tensor
    log_degree_BT: Tensor
    log_exposure_B: Tensor
    neighbour_mean_BC: Tensor | None = None
    task_log_count_BkT: Tensor | None = None


@dataclass(frozen=True)
class FeatureBatch:
    """sparse_BF: int64 codes. dense_BG: float32. multi: int64 [B, M] codes per feature, 0 = padding."""

    sparse_BF: Tensor
    dense_BG: Tensor
    multi: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class NodeBatch:
    """B users or B items. id_B: int64 node index, 0 where the id has no trained embedding."""

    id_B: Tensor
    features: FeatureBatch
    graph: GraphBatch | None = None


@dataclass(frozen=True)
class Batch:
    """B rows: row b pairs user b with item b in context b."""

    user: NodeBatch
    item: NodeBatch
    context: FeatureBatch


class Architecture(nn.Module):
    """A multi-task ranking model."""

    spec: InputSpec
    entire_space: bool = False
    """True: `training_logits` of a conditional task is that of the whole product (given and then the task itself), so
    its loss is taken wherever the task that it is given is observed, with label 0 outside its own space (ESMM)."""

    reads_recents: bool = False
    """Whether the model reads weighted sums over recents from the id tables (`id_reads`)."""

    @abstractmethod
    def user_half(self, user: NodeBatch) -> Half:
        """All that depends on the user alone."""

    @abstractmethod
    def item_half(self, item: NodeBatch) -> Half:
        """All that depends on the item alone."""

    @abstractmethod
    def score(self, user: Half, item: Half, context: FeatureBatch) -> Tensor:
        """Logits [B, T]; row b pairs user half b with item half b. Probability is sigmoid(logit)."""

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, T]; of a conditional task, given that its condition holds."""
        return self.score(self.user_half(batch.user), self.item_half(batch.item), batch.context)

    def training_logits(self, batch: Batch) -> Tensor:
        """Logits [B, T] that the loss is taken on: forward's, unless `entire_space`."""
        logit_BT: Tensor = self(batch)
        return logit_BT

    def id_reads(self, batch: Batch) -> tuple[IdReads, ...]:
        """What forward() will read of the id tables, so that it can be fetched beforehand; dropout is not done yet."""
        return ()

    def auxiliary_loss(self) -> Tensor | None:
        """A regularisation term of the last forward pass (AITM's calibrator, ESMM's none); None by default."""
        return None
