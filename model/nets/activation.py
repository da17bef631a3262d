"""Activations and the running moments that keep a row's score independent of its batch.

Legend: B rows, ... any feature shape.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.nets.config import ActivationName


class RunningMoments(nn.Module):
    """(x - mean) / sqrt(var + eps) over dim 0: the batch's moments in training, running ones in evaluation.

    var is the unbiased one, as in MacGNN's Dice. Unlike BatchNorm it takes any feature shape, and a training batch of
    one row (var 0).
    """

    mean: Tensor
    var: Tensor

    def __init__(self, *shape: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("var", torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return (x - self.mean) * (self.var + self.eps).rsqrt()
        return self._by_definition(x) if x.shape[0] == 1 else self._by_kernel(x)

    def _by_kernel(self, x: Tensor) -> Tensor:
        """The same as by definition, in two passes over memory instead of many."""
        # The kernel divides by the biased deviation: the constant weight makes it the unbiased one, exactly.
        unbias = x.shape[0] / (x.shape[0] - 1)
        weight = torch.full((self.mean.numel(),), unbias**-0.5, dtype=self.mean.dtype, device=x.device)
        return functional.batch_norm(
            x.flatten(1),
            self.mean.view(-1),
            self.var.view(-1),
            weight,
            training=True,
            momentum=self.momentum,
            eps=self.eps / unbias,
        ).view_as(x)

    def _by_definition(self, x: Tensor) -> Tensor:
        var, mean = torch.var_mean(x, dim=0, correction=min(1, x.shape[0] - 1))
        with torch.no_grad():
            self.mean.lerp_(mean.detach().to(self.mean.dtype), self.momentum)
            self.var.lerp_(var.detach().to(self.var.dtype), self.momentum)
        return (x - mean) * (var + self.eps).rsqrt()


class InputMoments(RunningMoments):
    """Standardised inputs; in evaluation none is farther from 0 than training has shown it.

    So a number that never varied says nothing: it is 0, whatever comes (a degree that is 0 in the graph of the training
    rows and not in that of later ones). Divided by a deviation of nearly 0, the first value that differs would
    otherwise reach weights that were trained on nothing like it. reach: the largest |value| of training.
    """

    reach: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__(*shape)
        self.register_buffer("reach", torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        # By definition: the kernel's mean of equal numbers is not quite that number, and eps makes much of it.
        standardised = self._by_definition(x) if self.training else super().forward(x)
        if not self.training:
            return torch.minimum(torch.maximum(standardised, -self.reach), self.reach)
        with torch.no_grad():
            self.reach.copy_(torch.maximum(self.reach, standardised.detach().abs().amax(dim=0).to(self.reach.dtype)))
        return standardised


class Dice(nn.Module):
    """Data-adaptive activation (DIN, KDD'18): p x + alpha (1 - p) x with p = sigmoid(standardised x).

    MacGNN's code takes the batch's moments in evaluation too and has no epsilon; here they run, so that a row scores
    the same in any batch. One alpha for each stacked net (all features of the last dimension share it).
    """

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.moments = RunningMoments(*shape, eps=1e-8)
        self.alpha = nn.Parameter(torch.zeros(*shape[:-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.moments(x))
        return x * torch.lerp(self.alpha.to(x.dtype), gate.new_ones(()), gate)


class PReLU(nn.Module):
    """max(x, 0) + alpha min(x, 0), alpha per stacked net."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((*shape[:-1], 1), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x) - self.alpha * torch.relu(-x)


def activation(name: ActivationName, *shape: int) -> nn.Module:
    """The activation of that name for inputs [B, *shape]."""
    match name:
        case "dice":
            return Dice(*shape)
        case "prelu":
            return PReLU(*shape)
        case "relu":
            return nn.ReLU()
        case "silu":
            return nn.SiLU()
        case "gelu":
            return nn.GELU()
