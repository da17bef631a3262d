"""Row-wise Adagrad: one accumulator an embedding row. Source: EXACT_ROWWISE_ADAGRAD of fbgemm (DLRM, 1906.00091).

Legend: n rows of a table, R rows with a gradient, C blocks of columns, D width (of a block after C).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor


class RowWiseAdagrad(torch.optim.Optimizer):
    """For a row r with gradient g of width d: s_r += |g|^2 / d; w_r -= lr * g / (sqrt(s_r) + eps).

    Takes sparse gradients (rows of the batch only) and dense ones of matrices (all rows). weight_decay is L2 on the
    rows that have a gradient. blocks: a row is cut into so many of equal width, each with an accumulator of its own, as
    a table is that lies column-wise on several workers.
    """

    def __init__(
        self, params: Any, lr: float = 0.01, eps: float = 1e-8, weight_decay: float = 0.0, blocks: int = 1
    ) -> None:
        super().__init__(params, {"lr": lr, "eps": eps, "weight_decay": weight_decay, "blocks": blocks})

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

    def sums(self, parameter: Tensor) -> Tensor:
        """The accumulators of a parameter: [rows, blocks], zero before the first step. Not a copy."""
        state = self.state[parameter]
        if not state:
            blocks = next(g["blocks"] for g in self.param_groups if any(p is parameter for p in g["params"]))
            state["sum"] = parameter.detach().new_zeros(len(parameter), blocks)
        found: Tensor = state["sum"]
        return found

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        sum_nC = self.sums(parameter)
        if gradient.is_sparse:
            whole = gradient.coalesce()
            row_R, grad_RD = whole.indices()[0], whole.values()
        else:
            row_R, grad_RD = torch.arange(len(parameter), device=parameter.device), gradient
        if group["weight_decay"]:
            grad_RD = grad_RD + group["weight_decay"] * parameter.index_select(0, row_R)
        grad_RCD = grad_RD.view(len(row_R), sum_nC.shape[1], -1)
        sum_RC = sum_nC.index_select(0, row_R) + grad_RCD.square().mean(dim=2)
        sum_nC.index_copy_(0, row_R, sum_RC)
        step_RCD = grad_RCD / (sum_RC.sqrt() + group["eps"]).unsqueeze(2)
        parameter.index_add_(0, row_R, step_RCD.flatten(1), alpha=-group["lr"])
