"""Information transfer and the last linear map in half the products, for serving.

Of x (p or q^t) only two things are read: its value h1(x) = V x, and its score <h2(x), h3(x)> / sqrt(D), which is the
quadratic form x A x with A = K' Q / sqrt(D). p = G y + g (y = q~ of the task before) is never formed: its value is
(V G) y + V g and its score y (G' A G) y + y (G' (A + A') g) + g A g. Of the last task only the logit is read, so its
value is one number. Products of weights are taken in float64.
Legend: N pairs, T tasks, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.nets.information_transfer import InformationTransfer
from model.nets.stacked import StackedLinear


class FoldedTransfer(nn.Module):
    """q [N, T, D] -> logits [N, T], equal to logit(info(q))."""

    def __init__(self, info: InformationTransfer, logit: StackedLinear) -> None:
        super().__init__()
        heads = info.heads.weight_SOI.detach().double()
        bridge, shift = info.transfer.weight_SOI.detach().double(), _bias(info.transfer).double()
        out_TD = logit.weight_SOI.detach().squeeze(1)
        self.steps, self.dim = heads.shape[0], heads.shape[2]
        self.register_buffer("out_TD", out_TD.clone())
        self.register_buffer("out_T", _bias(logit).squeeze(-1).clone())
        for step in range(self.steps):
            value_DD, key_DD, query_DD = heads[step].chunk(3)
            if step == self.steps - 1:
                value_DD = out_TD[-1:].double() @ value_DD
            form_DD = key_DD.T @ query_DD / math.sqrt(self.dim)
            bridge_DD, shift_D = bridge[step], shift[step]
            from_p = torch.cat([bridge_DD.T @ form_DD @ bridge_DD, value_DD @ bridge_DD])
            p_shift = torch.cat([bridge_DD.T @ (form_DD + form_DD.T) @ shift_D, value_DD @ shift_D])
            self.register_buffer(f"own_{step}", torch.cat([form_DD, value_DD]).float())
            self.register_buffer(f"from_p_{step}", from_p.float())
            self.register_buffer(f"p_shift_{step}", p_shift.float())
            self.register_buffer(f"score_shift_{step}", (shift_D @ form_DD @ shift_D).float())

    out_TD: Tensor
    out_T: Tensor

    def forward(self, q_NTD: Tensor) -> Tensor:
        before_ND = q_NTD[:, 0]
        logits = [before_ND @ self.out_TD[0]]
        for step in range(self.steps):
            own_ND = q_NTD[:, step + 1]
            score, value = self._read(own_ND, functional.linear(own_ND, self.get_buffer(f"own_{step}")))
            p_score, p_value = self._read(
                before_ND,
                functional.linear(before_ND, self.get_buffer(f"from_p_{step}"), self.get_buffer(f"p_shift_{step}")),
            )
            p_weight_N1 = torch.sigmoid(p_score + self.get_buffer(f"score_shift_{step}") - score)
            reached = p_weight_N1 * p_value + (1 - p_weight_N1) * value
            if step == self.steps - 1:
                logits.append(reached.squeeze(1))
            else:
                before_ND = reached
                logits.append(reached @ self.out_TD[step + 1])
        return torch.stack(logits, dim=1) + self.out_T

    def _read(self, x_ND: Tensor, product: Tensor) -> tuple[Tensor, Tensor]:
        """Score [N, 1] and value [N, D or 1]."""
        form_ND, value = product[:, : self.dim], product[:, self.dim :]
        return (x_ND * form_ND).sum(dim=1, keepdim=True), value


def _bias(linear: StackedLinear) -> Tensor:
    """[S, O]."""
    return (
        linear.weight_SOI.new_zeros(linear.weight_SOI.shape[:2]) if linear.bias_SO is None else linear.bias_SO.detach()
    )
