"""Entire space multi-task model (Ma et al., SIGIR'18): pCTCVR = pCTR x pCVR, for any chain of tasks.

Legend: B rows, T tasks, X inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from model.nets.config import ESMMConfig
from model.nets.interface import Batch, InputSpec
from model.nets.plain import PlainArchitecture
from model.nets.stacked import Towers

LOG_HALF = -0.6931


def logit_of_log(log_p: Tensor) -> Tensor:
    """log p - log(1 - p) from log p < 0, which keeps its digits where p is near 0 or near 1."""
    log_p = log_p.clamp(max=-torch.finfo(log_p.dtype).tiny)
    near_one = log_p > LOG_HALF
    safe = LOG_HALF  # each branch gets a harmless value where the other is taken, so that no gradient is NaN
    log_rest = torch.where(
        near_one,
        torch.log(-torch.expm1(torch.where(near_one, log_p, safe))),
        torch.log1p(-torch.exp(torch.where(near_one, safe, log_p))),
    )
    return log_p - log_rest


class ESMM(PlainArchitecture):
    """p_t = p_before(t) x sigmoid(tower^t(x)), the loss on p over the entire space.

    The factor of a conditional task is its probability given the condition: forward returns that, training_logits the
    product. Tasks of the entire space return their product in both.
    """

    entire_space = True

    def __init__(self, spec: InputSpec, config: ESMMConfig) -> None:
        super().__init__(spec, config.inputs)
        tasks = len(spec.tasks)
        self.towers = Towers(tasks, self.width, config.tower, config)
        self.given = spec.given or (None,) * tasks
        self.before = [_before(task, self.given[task], config.chain) for task in range(tasks)]

    def logits(self, x_BX: Tensor) -> Tensor:
        own_BT = self.towers.shared(x_BX)
        entire_BT = self.entire(own_BT)
        columns = [(entire_BT if given is None else own_BT)[:, t] for t, given in enumerate(self.given)]
        return torch.stack(columns, dim=1)

    def training_logits(self, batch: Batch) -> Tensor:
        x_BX = self.joined(self.user_half(batch.user), self.item_half(batch.item), batch.context)
        return self.entire(self.towers.shared(x_BX))

    def entire(self, own_BT: Tensor) -> Tensor:
        """Logits of the products along the chain."""
        log_own_BT = logsigmoid(own_BT.float())
        log_product: list[Tensor] = []
        columns: list[Tensor] = []
        for task, before in enumerate(self.before):
            if before is None:
                log_product.append(log_own_BT[:, task])
                columns.append(own_BT[:, task].float())
            else:
                log_product.append(log_product[before] + log_own_BT[:, task])
                columns.append(logit_of_log(log_product[task]))
        return torch.stack(columns, dim=1)


def _before(task: int, given: int | None, chain: str) -> int | None:
    """The task whose product multiplies this one's factor."""
    if given is not None or task == 0 or chain == "given":
        return given
    return 0 if chain == "first" else task - 1
