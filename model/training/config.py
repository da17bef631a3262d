"""How a model is trained: everything that decides the weights, and how the work is spread over the machine."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_BESIDE_THE_WEIGHTS = frozenset({"checkpoint_every", "checkpoint_unit", "device", "world_size", "max_failures"})


class TrainingConfig(BaseModel):
    """Options of one training run. Every field but those of place and checkpoints decides the weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: Annotated[int, Field(ge=0)] = 0
    """Of the initial weights, the order of rows and every dropout: the same seed gives the same weights."""

    batch_size: Annotated[int, Field(ge=1)] = 1024
    """Rows of a step over all workers together: the loss curve does not depend on `world_size`."""
    epochs: Annotated[int, Field(ge=1)] = 5
    """At most so many passes over the training rows."""
    history_rates: bool = False
    """Whether the log's dense history (what was known of user and item before each moment) is among the inputs."""

    optimiser: Literal["adam", "adamw", "adagrad", "sgd"] = "adam"
    """Of all dense parameters, and of the id tables where `sparse_optimiser` is none."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.005
    """Peak rate, reached after the warm-up. MGOE and MacGNN train at 0.005 to 0.01."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    """L2 on the dense parameters (decoupled for adamw)."""
    sparse_optimiser: Literal["none", "sparse_adam", "rowwise_adagrad"] = "none"
    """Of large embedding tables. `none`: they are dense parameters like any other. The sparse ones touch the rows of a
    batch only, so a step costs the same at any table size; rowwise_adagrad keeps one number a row as its state."""
    sparse_from_rows: Annotated[int, Field(ge=1)] = 10_000
    """Tables with at least so many rows are large."""
    table_sharding: Literal["none", "table_wise", "column_wise"] = "none"
    """How large id tables are spread over the workers (TorchRec). `none`: every worker holds all of them. `table_wise`:
    each lies on one worker. `column_wise`: each is cut into `column_blocks`, which lie on as many workers as there are.
    Needs rowwise_adagrad, which is then fused into the backward pass."""
    column_blocks: Annotated[int, Field(ge=1)] = 2
    """With column_wise: blocks of columns of a table. Each has one number a row as its optimiser state, so they decide
    the weights; the number of workers does not."""
    table_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Rate of the embedding tables; `learning_rate` when absent. Ids over-fit before the towers have learnt."""
    table_weight_decay: Annotated[float, Field(ge=0)] | None = None
    """L2 of the embedding tables; `weight_decay` when absent. With rowwise_adagrad only rows of the batch decay;
    sparse_adam has none."""
    schedule: Literal["constant", "cosine"] = "constant"
    """cosine: from the peak to zero over `epochs`."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the rate rises linearly from zero to its peak."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of all gradients together; none by default."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Keeps an exponential moving average of the weights and evaluates that; steadies the validation curve."""
    loss_weights: dict[str, Annotated[float, Field(ge=0)]] = {}
    """lambda of each task's cross-entropy; 1 where a task is not named."""

    evaluate_every: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Fraction of an epoch between evaluations on the validation rows."""
    metric: Literal["mean_auc", "log_loss"] = "mean_auc"
    """What early stopping watches on validation rows: the mean AUC over tasks, or the weighted log loss."""
    patience: Annotated[int, Field(ge=1)] = 4
    """Evaluations in a row without a new best before training stops."""
    restore_best: bool = True
    """Whether the weights of the best evaluation are kept, or those of the last step."""
    validation_rows: Annotated[int, Field(ge=1)] | None = None
    """At most so many validation rows, drawn by `seed`; all of them when absent."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: forward and loss under autocast; weights and optimiser state stay float32."""
    compile: bool = False
    """Whether forward and loss go through torch.compile. Pays on long runs only: compiling takes a minute."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where torch sees one."""
    world_size: Annotated[int, Field(ge=1)] = 1
    """Workers. 1 trains in this process; more go through Ray Train (gloo on CPU, NCCL on GPU)."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often killed workers are started again from the last checkpoint."""
    checkpoint_every: Annotated[float, Field(gt=0)] = 60.0
    """Interval between checkpoints, in `checkpoint_unit`: the most that a kill can cost."""
    checkpoint_unit: Literal["seconds", "steps"] = "seconds"

    @property
    def peak_of_tables(self) -> float:
        """Learning rate of the embedding tables."""
        return self.learning_rate if self.table_learning_rate is None else self.table_learning_rate

    @property
    def decay_of_tables(self) -> float:
        """L2 of the embedding tables."""
        return self.weight_decay if self.table_weight_decay is None else self.table_weight_decay

    @property
    def blocks_of_tables(self) -> int:
        """Into how many blocks of columns a large id table is cut."""
        return self.column_blocks if self.table_sharding == "column_wise" else 1

    @model_validator(mode="after")
    def _shardable(self) -> TrainingConfig:
        if self.table_sharding == "none":
            return self
        asked = {
            "sparse_optimiser": (self.sparse_optimiser, "rowwise_adagrad", "the fused optimiser is that one"),
            "gradient_clip": (self.gradient_clip, None, "a fused optimiser moves rows before all gradients are known"),
            "ema_decay": (self.ema_decay, None, "averages of tables would take as much memory as they do"),
            "compile": (self.compile, False, "exchanges between workers are not compiled"),
        }
        for name, (found, wanted, reason) in asked.items():
            if found != wanted:
                wish = "absent" if wanted is None else wanted
                raise ValueError(f"table_sharding {self.table_sharding} needs {name} to be {wish}: {reason}")
        return self

    def deciding(self) -> dict[str, object]:
        """The fields that decide the weights: a checkpoint made under others is not resumed."""
        return self.model_dump(mode="json", exclude=set(_BESIDE_THE_WEIGHTS))
