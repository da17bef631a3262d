"""Row-wise Adagrad: one accumulator an embedding row. Source: EXACT_ROWWISE_ADAGRAD of fbgemm (DLRM, 1906.00091)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor


class RowWiseAdagrad(torch.optim.Optimizer):
    """For a row r with gradient g of width d: s_r += |g|^2 / d; w_r -= lr * g / (sqrt(s_r) + eps).

    Takes sparse gradients (rows of the batch only) and dense ones of matrices (all rows). weight_decay is L2 on the
    rows that have a gradient.
    """

    def __init__(self, params: Any, lr: float = 0.01, eps: float = 1e-8, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "eps": eps, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)
        return loss

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["sum"] = torch.zeros(len(parameter), dtype=parameter.dtype, device=parameter.device)
        if gradient.is_sparse:
            whole = gradient.coalesce()
            row_R, grad_RD = whole.indices()[0], whole.values()
        else:
            row_R, grad_RD = torch.arange(len(parameter), device=parameter.device), gradient
        if group["weight_decay"]:
            grad_RD = grad_RD + group["weight_decay"] * parameter.index_select(0, row_R)
        sum_R = state["sum"].index_select(0, row_R) + grad_RD.square().mean(dim=1)
        state["sum"].index_copy_(0, row_R, sum_R)
        step_RD = grad_RD / (sum_R.sqrt() + group["eps"]).unsqueeze(1)
        parameter.index_add_(0, row_R, step_RD, alpha=-group["lr"])
