"""Options of the architectures. Every choice that a paper leaves open is a named option here; one sentence each.

Sources: MMoE (KDD'18), PLE (RecSys'20), AITM (KDD'21), ESMM (SIGIR'18), MacGNN (WWW'24, arXiv 2401.14939),
MGOE (KDD'26, arXiv 2506.10520).
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
    id_rows: Annotated[int, Field(ge=2)] | None = None
    """At most so many rows in an id table: ids of more nodes are hashed into them, and some share one. Row 0 stays the
    unknown's alone. None: a row for every node."""
    id_init: Literal["normal", "xavier"] = "normal"
    """`normal`: N(0, id_std). `xavier`: Xavier uniform over the whole table, as in MacGNN's code."""
    id_std: Annotated[float, Field(gt=0)] = 0.01
    """Deviation of `normal`: small, so that an id seen once or twice hardly moves a score."""
    id_dropout: Rate = 0.0
    """In training, share of rows whose whole id is replaced by the unknown one (0): against over-fitted ids."""
    id_l2: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the mean squared norm of the id embeddings of a batch, added to the loss."""
    feature_dim: Width = 8
    """Width of one sparse or multi-valued feature's embedding."""
    feature_dropout: Rate = 0.0
    """In training, share of the features of a row that are left out whole (their vectors set to 0, the rest scaled up),
    as trees draw columns: against leaning on few of them."""
    numeric: Literal["plain", "ramps", "linear", "mlp", "periodic"] = "plain"
    """How a number enters: as it is; beside ramps that cut its range into equal pieces (piecewise linear encoding); or
    embedded on its own by a linear map and ReLU, a two-layer net, or a periodic layer (Gorishniy et al., NeurIPS 2022,
    the PLR form). Ramps and periods expect standardised numbers."""
    numeric_dim: Width = 8
    """Width of one number's embedding; how many ramps."""
    numeric_sigma: Annotated[float, Field(gt=0)] = 0.3
    """Deviation of the periodic layer's initial frequencies."""
    standardise: bool = False
    """Standardise dense inputs once more by running statistics; the log's own are already standardised."""
    degrees: bool = False
    """Adds log-degrees per task and log-exposure of both nodes (from the graph) to the dense inputs."""
    neighbour_means: bool = False
    """Adds the neighbour means of both nodes (from a graph that was built with them) to the dense inputs."""
    groups: bool = False
    """Adds an embedding of the node's own macro group (from the graph)."""


class HiddenOptions(_Options):
    """What follows every hidden linear layer."""

    activation: ActivationName = "relu"
    dropout: Rate = 0.0
    """After every activation."""
    norm: Literal["none", "layer", "batch"] = "none"
    """Before every activation."""


class _Architecture(HiddenOptions):
    inputs: InputOptions = InputOptions()

    @property
    def reads_graph(self) -> bool:
        """Whether the model needs a macro graph. One that does not is trained on every row and bound to no graph."""
        return self.inputs.degrees or self.inputs.neighbour_means or self.inputs.groups


class SharedBottomConfig(_Architecture):
    """One bottom for all tasks, one tower a task (Caruana 1997)."""

    architecture: Literal["shared_bottom"] = "shared_bottom"
    bottom: tuple[Width, ...] = (64, 32)
    """Widths of the bottom's layers."""
    tower: tuple[Width, ...] = (32,)
    """Widths of a tower's hidden layers; the same in the architectures below."""


class MMoEConfig(_Architecture):
    """Multi-gate mixture of experts (Ma et al., KDD'18)."""

    architecture: Literal["mmoe"] = "mmoe"
    experts: Width = 4
    expert: tuple[Width, ...] = (64, 32)
    """Widths of an expert's layers."""
    tower: tuple[Width, ...] = (32,)


class PLEConfig(_Architecture):
    """Progressive layered extraction (Tang et al., RecSys'20). levels = 1 is CGC."""

    architecture: Literal["ple"] = "ple"
    levels: Width = 2
    """Extraction levels."""
    task_experts: Width = 2
    """Experts of each task's own, per level."""
    shared_experts: Width = 2
    """Experts that all tasks read, per level."""
    expert: tuple[Width, ...] = (64, 32)
    """Widths of an expert's layers, on every level."""
    tower: tuple[Width, ...] = (32,)


class AITMConfig(_Architecture):
    """Adaptive information transfer (Xi et al., KDD'21)."""

    architecture: Literal["aitm"] = "aitm"
    bottom: tuple[Width, ...] = (64, 32)
    """Widths of each task's own bottom; the last is the width of the transferred information."""
    tower: tuple[Width, ...] = (32,)
    calibrator: Annotated[float, Field(ge=0)] = 0.6
    """Weight of the behavioural expectation calibrator: mean of max(p_t - p_(t-1), 0). For tasks that are a funnel."""


class ESMMConfig(_Architecture):
    """Entire space multi-task model (Ma et al., SIGIR'18), for any number of tasks."""

    architecture: Literal["esmm"] = "esmm"
    tower: tuple[Width, ...] = (64, 32)
    """Widths of each task's own tower over the shared embeddings (ESMM shares nothing above them)."""
    chain: Literal["given", "first", "ordered"] = "given"
    """Which probability multiplies a task's own. `given`: that of the task it is conditional on; others stand alone.
    `first`: also, for tasks of the entire space, that of the first task. `ordered`: that of the task before it.
    The last two say that a stronger task implies the weaker one: right for a funnel, wrong where it is not."""


class MacroOptions(_Architecture):
    """What MacGNN and MGOE have in common: how a node reads its macro and micro neighbours."""

    activation: ActivationName = "dice"
    attention: Literal["none", "target"] = "none"
    """`none`: edge weights alone (MacGNN's released code). `target`: times a softmax over macro nodes of their match
    with the pair's item (for item macro nodes) or user (for user macro nodes)."""
    tau: Annotated[float, Field(gt=0)] = 1.3
    """Temperature of the edge softmax."""
    mask_zero: bool = False
    """Leaves macro nodes without any count out of the softmax (MacGNN keeps them)."""
    padding_node: bool = False
    """Counts group 0 as one more macro node without edges, as MacGNN's released code does."""
    two_hop: bool = True
    """Off: one-hop macro neighbours only (ablation)."""
    micro: bool = True
    """Off: no micro neighbours (ablation)."""
    micro_weight: Literal["mean", "sum"] = "mean"
    """`mean`: weighted by S and normalised. `sum`: MacGNN's masked sum, all weights 1."""
    micro_projection: Literal["own", "tied"] = "own"
    """`tied`: micro neighbours share the macro projection, task by task, as in MacGNN."""
    plain: bool = True
    """User, item and context features enter beside the graph."""

    @property
    def reads_graph(self) -> bool:
        """Always: macro edges are its inputs."""
        return True


class MacGNNConfig(MacroOptions):
    """Macro graph neural network (Chen et al., WWW'24), made multi-task."""

    architecture: Literal["macgnn"] = "macgnn"
    micro_weight: Literal["mean", "sum"] = "sum"
    micro_projection: Literal["own", "tied"] = "tied"
    heads: Literal["shared", "independent"] = "shared"
    """`shared`: T heads over one network. `independent`: T networks with tables of their own, as one model a task."""
    widths: tuple[Width, ...] = (200, 80)
    """Widths of the MLP."""


class MGOEConfig(MacroOptions):
    """Macro Graph of Experts (KDD'26). Defaults: the published model where known, else the plainest form."""

    architecture: Literal["mgoe"] = "mgoe"
    task_emb: Literal["full", "macro"] = "full"
    """`full`: id and macro tables per task. `macro`: shared id tables, macro tables per task (at scale)."""
    gate: Literal["softmax", "mean"] = "softmax"
    """`mean`: every expert counts the same (ablation)."""
    gate_input: Literal["experts", "ids"] = "experts"
    """What a gate sees: all experts' outputs, or [e_u; e_i] as in MMoE."""
    stop_gradient: bool = False
    """A task's mixture does not train the other tasks' experts (STEM, AAAI'24). Gates that read the experts and the
    information transfer still do."""
    table: Literal["hard", "soft", "off"] = "hard"
    """Macro task table. `hard`: R^t of the macro node where the task has most pairs. `soft`: the experts' own M^t by
    softmax(log(P_t + 1) / tau) over the task's pairs in every macro node; needs a graph built with task_edges."""
    info: bool = True
    """Information transfer from weaker to stronger tasks (AITM's form)."""
    cross: bool = False
    """Adds the pair's own macro edges: log-count and share of the user's at the item's group, and the reverse."""
    wide: bool = False
    """Adds a linear map from the plain features straight to the logits (Wide & Deep)."""
    deep: tuple[Width, ...] = ()
    """Widths of the experts of an MMoE over ids and plain features whose logits are added; empty: none."""
    deep_experts: Width = 4
    """Experts of that MMoE."""
    fusion_dim: Width = 200
    """Width of z^t."""
    tower_dim: Width = 80
    """Width of q^t."""


ModelConfig = Annotated[
    SharedBottomConfig | MMoEConfig | PLEConfig | AITMConfig | ESMMConfig | MacGNNConfig | MGOEConfig,
    Field(discriminator="architecture"),
]

MODEL_CONFIG: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)
"""Validates a mapping into the right config: MODEL_CONFIG.validate_python({"architecture": "mmoe"})."""
