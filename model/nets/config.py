"""Options of the architectures. Every choice that a paper leaves open is a named option here; one sentence each.

Sources: MMoE (KDD'18), PLE (RecSys'20), AITM (KDD'21), ESMM (SIGIR'18), MacGNN (arXiv 2401.14939), MGOE (arXiv 2506.10520).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Width = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
ActivationName = Literal["dice", "relu", "prelu", "silu", "gelu"]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputOptions(_Options):
    """How ids, features and (where asked for) the graph's degrees become vectors; the same for every architecture."""

    ids: bool = True
    """Off: no id embeddings at all, features only."""
    id_dim: Width = 16
    """d, the width of an id embedding (MGOE and MacGNN: of a macro node's too)."""
    id_init: Literal["normal", "xavier"] = "normal"
    """`normal`: N(0, id_std). `xavier`: Xavier uniform over the whole table, as in MacGNN's code."""
    id_std: Annotated[float, Field(gt=0)] = 0.01
    """Deviation of `normal`: small, so that an id seen once or twice hardly moves a score."""
    id_dropout: Rate = 0.0
    """In training, share of rows whose whole id is replaced by the unknown one (0): against over-fitted ids."""
    id_l2: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the mean squared norm of the id embeddings of a batch, added to the loss."""
    sparse_ids: bool = False
    """Sparse gradients for id tables, for SparseAdam or a row-wise optimiser."""
    feature_dim: Width = 8
    """Width of one sparse or multi-valued feature's embedding."""
    numeric: Literal["plain", "linear", "mlp", "periodic"] = "plain"
    """How a number enters: as it is, or embedded on its own by a linear map and ReLU, a two-layer net, or a periodic
    layer (Gorishniy et al., NeurIPS 2022, the PLR form)."""
    numeric_dim: Width = 8
    """Width of one number's embedding."""
    numeric_sigma: Annotated[float, Field(gt=0)] = 0.3
    """Deviation of the periodic layer's initial frequencies."""
    standardise: bool = False
    """Standardise dense inputs once more by running statistics; the log's own are already standardised."""
    degrees: bool = False
    """Adds log-degrees per task and log-exposure of both nodes (from the graph) to the dense inputs."""
    groups: bool = False
    """Adds an embedding of the node's own macro group (from the graph)."""


class _Architecture(_Options):
    inputs: InputOptions = InputOptions()
    activation: ActivationName = "relu"
    dropout: Rate = 0.0
    """After every hidden layer."""
    norm: Literal["none", "layer", "batch"] = "none"
    """Before every activation."""


class SharedBottomConfig(_Architecture):
    """One bottom for all tasks, one tower a task (Caruana 1997)."""

    architecture: Literal["shared_bottom"] = "shared_bottom"
    bottom: tuple[Width, ...] = (64, 32)
    tower: tuple[Width, ...] = (32,)


class MMoEConfig(_Architecture):
    """Multi-gate mixture of experts (Ma et al., KDD'18)."""

    architecture: Literal["mmoe"] = "mmoe"
    experts: Width = 4
    expert: tuple[Width, ...] = (64, 32)
    """Widths of an expert's layers."""
    tower: tuple[Width, ...] = (32,)


class MGOEConfig(_Architecture):
    """Macro Graph of Experts (KDD'26). Defaults are those of the published model where known, else the plainest form."""

    architecture: Literal["mgoe"] = "mgoe"
    activation: ActivationName = "dice"
    task_emb: Literal["full", "macro"] = "full"
    """`full`: id and macro tables per task. `macro`: shared id tables, macro tables per task (at scale)."""
    attention: Literal["none", "target"] = "none"
    """`none`: edge weights alone (MacGNN's released code). `target`: times a softmax over macro nodes of their match with
    the other side's id; such halves cannot be reduced before scoring."""
    tau: Annotated[float, Field(gt=0)] = 1.3
    """Temperature of the edge softmax."""
    mask_zero: bool = False
    """Leave macro nodes without any count out of the softmax (MacGNN keeps them)."""
    two_hop: bool = True
    """Off: the experts read the one-hop macro neighbours only."""
    gate: Literal["softmax", "mean"] = "softmax"
    """`mean`: every expert counts the same (ablation)."""
    gate_input: Literal["experts", "ids"] = "experts"
    """What a gate sees: all experts' outputs, or [e_u; e_i] as in MMoE."""
    stop_gradient: bool = False
    """A task's loss does not train the other tasks' experts (STEM, AAAI'24)."""
    micro: bool = True
    """Off: no micro neighbours (ablation)."""
    micro_weight: Literal["mean", "sum"] = "mean"
    """`mean`: weighted by S and normalised. `sum`: MacGNN's masked sum, all weights 1."""
    micro_projection: Literal["own", "tied"] = "own"
    """`tied`: micro neighbours share the macro projection, task by task, as in MacGNN."""
    table: Literal["hard", "soft", "off"] = "hard"
    """Macro task table. `hard`: the dominant macro node of the task. `soft`: mean over the one-hop macro neighbours."""
    info: bool = True
    """Information transfer from weaker to stronger tasks (AITM's form)."""
    cross: bool = False
    """Adds the pair's own macro edges: log-count and share of the user's at the item's group, and the reverse."""
    plain: bool = True
    """User, item and context features enter the fusion."""
    wide: bool = False
    """Adds a linear map from the plain features straight to the logits (Wide & Deep)."""
    fusion_dim: Width = 200
    tower_dim: Width = 80


ModelConfig = Annotated[
    SharedBottomConfig | MMoEConfig | MGOEConfig,
    Field(discriminator="architecture"),
]

MODEL_CONFIG: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)
"""Validates a mapping into the right config: MODEL_CONFIG.validate_python({"architecture": "mmoe"})."""
