"""Which optimiser moves which parameters, and their state as named tensors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from model.errors import UserError
from model.training.config import TrainingConfig
from model.training.rowwise_adagrad import RowWiseAdagrad

Optimiser = torch.optim.Optimizer


def make_optimisers(module: nn.Module, config: TrainingConfig, apart: Iterable[nn.Module] = ()) -> list[Optimiser]:
    """One optimiser for dense parameters and, where the config asks, one for large embedding tables.

    Large tables are switched to sparse gradients, all others to dense ones. Every parameter that needs a gradient is in
    exactly one optimiser. apart: tables that have an optimiser of their own (model.training.tables).
    """
    theirs = {id(table.weight) for table in _tables(apart)}
    tables = [table for table in _tables(module.modules()) if id(table.weight) not in theirs]
    large: dict[int, Tensor] = {}
    for table in tables:
        table.sparse = config.sparse_optimiser != "none" and table.num_embeddings >= config.sparse_from_rows
        if table.sparse:
            large[id(table.weight)] = table.weight
    table_ids = {id(table.weight) for table in tables}
    trained = [
        parameter for parameter in module.parameters() if parameter.requires_grad and id(parameter) not in theirs
    ]
    dense = [parameter for parameter in trained if id(parameter) not in table_ids]
    small = [parameter for parameter in trained if id(parameter) in table_ids and id(parameter) not in large]
    optimisers = [_dense(dense, small, config)]
    if large:
        optimisers.append(_sparse(list(large.values()), config))
    return optimisers


def scale_rates(optimisers: Sequence[Optimiser], factor: float) -> None:
    """Sets every group's learning rate to its peak times `factor`."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * factor


def clip_gradients(module: nn.Module, largest: float) -> None:
    """Scales all gradients so that their norm together is at most `largest`; of sparse ones the rows that they hold."""
    values = [_values(parameter) for parameter in module.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm(values)
    torch._foreach_mul_(values, torch.clamp(largest / (norm + 1e-6), max=1.0))


def _values(parameter: nn.Parameter) -> Tensor:
    gradient = parameter.grad
    assert gradient is not None  # noqa: S101
    if not gradient.is_sparse:
        return gradient
    parameter.grad = gradient.coalesce()
    return parameter.grad.values()


def state_tensors(optimisers: Sequence[Optimiser]) -> dict[str, Tensor]:
    """The state of all optimisers as `<optimiser>.<parameter>.<name>`; plain numbers become float64 scalars."""
    tensors: dict[str, Tensor] = {}
    for position, optimiser in enumerate(optimisers):
        for parameter, state in optimiser.state_dict()["state"].items():
            for name, value in state.items():
                tensor = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
                tensors[f"{position}.{parameter}.{name}"] = tensor
    return tensors


def load_state(optimisers: Sequence[Optimiser], tensors: dict[str, Tensor]) -> None:
    """The inverse of `state_tensors`; rates and other options stay those of the config."""
    states: list[dict[int, dict[str, Any]]] = [{} for _ in optimisers]
    for key, tensor in tensors.items():
        position, parameter, name = key.split(".", 2)
        value: Any = int(tensor.item()) if tensor.dtype == torch.float64 and tensor.ndim == 0 else tensor
        states[int(position)].setdefault(int(parameter), {})[name] = value
    for optimiser, state in zip(optimisers, states, strict=True):
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _tables(parts: Iterable[nn.Module]) -> list[nn.Embedding | nn.EmbeddingBag]:
    return [part for part in parts if isinstance(part, nn.Embedding | nn.EmbeddingBag)]


def _dense(parameters: list[nn.Parameter], tables: list[nn.Parameter], config: TrainingConfig) -> Optimiser:
    groups = [
        _group(parameters, config.learning_rate, config.weight_decay),
        _group(tables, config.peak_of_tables, config.decay_of_tables),
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise UserError("the model has no parameters but large tables: set sparse_optimiser to none")
    if config.optimiser == "adam":
        return torch.optim.Adam(groups, fused=True)
    if config.optimiser == "adamw":
        return torch.optim.AdamW(groups, fused=True)
    if config.optimiser == "adagrad":
        return torch.optim.Adagrad(groups, fused=False)
    return torch.optim.SGD(groups)


def _sparse(tables: Sequence[Tensor], config: TrainingConfig) -> Optimiser:
    rate, decay = config.peak_of_tables, config.decay_of_tables
    if config.sparse_optimiser == "rowwise_adagrad":
        return RowWiseAdagrad([_group(tables, rate, decay)])
    if decay > 0 and config.table_weight_decay is not None:
        raise UserError("sparse_adam has no weight decay: set table_weight_decay to 0 or use rowwise_adagrad")
    return torch.optim.SparseAdam([{"params": list(tables), "lr": rate, "peak": rate}])


def _group(parameters: Sequence[Tensor], rate: float, decay: float) -> dict[str, Any]:
    return {"params": list(parameters), "lr": rate, "peak": rate, "weight_decay": decay}
