"""Training rows per second: MGOE's factorised form against the literal expanded one, and MMoE against torch-rechub's.

A step is forward, backward and Adam on one synthetic batch. The two sides of a ratio take turns within one run, and
each is the median of its steps. torch-rechub's MMoE gets the same tables, experts, gates and towers (ReLU, no batch
norm on either side); its forward returns probabilities, so its loss is BCE on those.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from model.nets.build import build_architecture
from model.nets.config import MODEL_CONFIG
from model.nets.expanded import expanded
from model.nets.interface import (
    Batch,
    EdgeBatch,
    FeatureBatch,
    FeatureCards,
    GraphBatch,
    GraphCards,
    InputSpec,
    NodeBatch,
)
from model.nets.mgoe import MGOE

TASKS = 4
ROWS = 256
KEPT = 64
RECENT = 20
NODES = 2_000
VOCABULARY = 1_000
FIELDS = 8

Step = Callable[[], None]


@dataclass(frozen=True)
class Result:
    """Rows per second of both sides and their ratio (ours over theirs)."""

    what: str
    threads: int
    ours: float
    theirs: float
    ratio: float


def macro_spec(groups: int) -> InputSpec:
    """The macro graph alone: what both forms have beside it would only dilute the ratio."""
    tasks = tuple(f"task{t}" for t in range(TASKS))
    none = FeatureCards()
    return InputSpec(tasks, NODES, NODES, none, none, none, GraphCards(groups, groups))


def edges(groups: int) -> EdgeBatch:
    kept = min(KEPT, groups)
    macro_Bk = torch.rand(ROWS, groups).topk(kept, dim=1).indices + 1
    return EdgeBatch(macro_Bk, torch.log1p(torch.randint(1, 50, (ROWS, kept)).float()))


def node(groups: int) -> NodeBatch:
    graph = GraphBatch(
        group_B=torch.randint(0, groups + 1, (ROWS,)),
        hop1=edges(groups),
        hop2=edges(groups),
        dominant_BT=torch.randint(0, groups + 1, (ROWS, TASKS)),
        recent_BL=torch.randint(1, NODES, (ROWS, RECENT)),
        recent_score_BL=torch.rand(ROWS, RECENT),
        log_degree_BT=torch.rand(ROWS, TASKS),
        log_exposure_B=torch.rand(ROWS),
    )
    return NodeBatch(torch.randint(1, NODES, (ROWS,)), features(), graph)


def features(codes_BF: Tensor | None = None) -> FeatureBatch:
    sparse_BF = torch.zeros(ROWS, 0, dtype=torch.int64) if codes_BF is None else codes_BF
    return FeatureBatch(sparse_BF, torch.zeros(ROWS, 0))


def step_of(model: nn.Module, loss: Callable[[], Tensor]) -> Step:
    """Tables get sparse gradients on neither side, so Adam is the same for both."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> None:
        optimiser.zero_grad()
        torch.autograd.backward(loss())
        optimiser.step()

    return step


def compare(what: str, ours: Step, theirs: Step, steps: int) -> Result:
    """Steps in turns; rows per second from the median step of each side."""
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for turn in range(steps + 1):
        for name, step in (("ours", ours), ("theirs", theirs)):
            begin = time.perf_counter()
            step()
            if turn > 0:  # the first step allocates the optimiser's state
                seconds[name].append(time.perf_counter() - begin)
    rate = {name: ROWS / statistics.median(values) for name, values in seconds.items()}
    return Result(what, torch.get_num_threads(), rate["ours"], rate["theirs"], rate["ours"] / rate["theirs"])


def mgoe_against_expanded(groups: int, dim: int, task_emb: str, steps: int) -> Result:
    torch.manual_seed(0)
    options = {"architecture": "mgoe", "task_emb": task_emb, "inputs": {"id_dim": dim}}
    model = build_architecture(MODEL_CONFIG.validate_python(options), macro_spec(groups))
    if not isinstance(model, MGOE):
        raise TypeError(type(model).__name__)
    literal = expanded(model)
    batch = Batch(node(groups), node(groups), features())
    labels_BT = (torch.rand(ROWS, TASKS) < 0.3).float()

    def loss_of(net: nn.Module) -> Callable[[], Tensor]:
        return lambda: nn.functional.binary_cross_entropy_with_logits(net(batch), labels_BT)

    what = f"MGOE factorised / expanded, K={groups} d={dim} task_emb={task_emb}"
    return compare(what, step_of(model, loss_of(model)), step_of(literal, loss_of(literal)), steps)


def mmoe_against_rechub(experts: int, widths: Sequence[int], steps: int) -> Result:
    """All fields are sparse ones of the user in our spec, as torch-rechub knows neither sides nor ids."""
    from torch_rechub.basic.features import SparseFeature
    from torch_rechub.models.multi_task import MMOE

    torch.manual_seed(0)
    dim = 16
    tasks = tuple(f"task{t}" for t in range(TASKS))
    fields, none = FeatureCards(sparse=(VOCABULARY,) * FIELDS), FeatureCards()
    spec = InputSpec(tasks, 1, 1, fields, none, none)
    options: dict[str, Any] = {"experts": experts, "expert": tuple(widths), "tower": (32,)}
    inputs = {"ids": False, "feature_dim": dim}
    config = MODEL_CONFIG.validate_python({"architecture": "mmoe", "inputs": inputs, **options})
    ours = build_architecture(config, spec)
    theirs = MMOE(
        [SparseFeature(f"f{i}", vocab_size=VOCABULARY, embed_dim=dim) for i in range(FIELDS)],
        ["classification"] * TASKS,
        experts,
        {"dims": list(widths), "activation": "relu"},
        [{"dims": [32], "activation": "relu"} for _ in tasks],
    )
    drop_batch_norm(theirs)
    codes_BF = torch.randint(0, VOCABULARY, (ROWS, FIELDS))
    labels_BT = (torch.rand(ROWS, TASKS) < 0.3).float()
    zero_B = torch.zeros(ROWS, dtype=torch.int64)
    batch = Batch(NodeBatch(zero_B, features(codes_BF)), NodeBatch(zero_B, features()), features())
    columns = {f"f{i}": codes_BF[:, i].contiguous() for i in range(FIELDS)}
    our_size, their_size = size(ours), size(theirs)
    if our_size != their_size:
        raise ValueError(f"parameters differ: {our_size} and {their_size}")
    return compare(
        f"MMoE ours / torch-rechub, {experts} experts {'-'.join(map(str, widths))}, {our_size} parameters",
        step_of(ours, lambda: nn.functional.binary_cross_entropy_with_logits(ours(batch), labels_BT)),
        step_of(theirs, lambda: nn.functional.binary_cross_entropy(theirs(columns), labels_BT)),
        steps,
    )


def drop_batch_norm(model: nn.Module) -> None:
    """torch-rechub's MLPs always hold batch norm and dropout; take both out, in its favour."""
    for module in model.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm1d | nn.Dropout):
                setattr(module, name, nn.Identity())


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def measure(steps: int = 12, threads: Sequence[int] = (1, os.cpu_count() or 1)) -> list[Result]:
    """All contests at each number of threads. steps: measured steps of the quick cases; slow ones take a part."""
    results: list[Result] = []
    for count in dict.fromkeys(threads):
        torch.set_num_threads(count)
        for groups in (20, 200):
            for dim in (16, 64):
                fewer = max(3, steps // (4 if groups * dim > 4000 else 1))
                results.append(mgoe_against_expanded(groups, dim, "macro", fewer))
        results.append(mgoe_against_expanded(200, 64, "full", max(3, steps // 4)))
        if count == 1:  # the expanded form takes seconds a step and gigabytes
            results += [mgoe_against_expanded(1000, dim, "macro", 3) for dim in (16, 64)]
        results += [mmoe_against_rechub(4, (64, 32), 3 * steps), mmoe_against_rechub(8, (128, 64), steps)]
    return results


def show(console: Console, results: Sequence[Result]) -> None:
    table = Table("rows a second", "threads", "ours", "theirs", "ratio", title="Training steps")
    for one in results:
        table.add_row(
            one.what, str(one.threads), f"{one.ours:,.0f}", f"{one.theirs:,.0f}", f"[bold]{one.ratio:.1f}x[/]"
        )
    console.print(table)
