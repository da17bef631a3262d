"""Equal nets side by side (tasks, experts) as one batched product instead of a Python loop.

Legend: B rows, S nets in the stack, I inputs, O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.nets.activation import RunningMoments, activation
from model.nets.config import HiddenOptions


class StackedLinear(nn.Module):
    """S linear maps. weight_SOI, bias_SO; Xavier uniform net by net, bias zero (MacGNN's initialisation)."""

    def __init__(self, stack: int, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        bound = math.sqrt(6 / (inputs + outputs))
        self.weight_SOI = nn.Parameter(torch.empty(stack, outputs, inputs).uniform_(-bound, bound))
        self.bias_SO = nn.Parameter(torch.zeros(stack, outputs)) if bias else None

    def forward(self, x_BSI: Tensor) -> Tensor:
        """[B, S, I] -> [B, S, O], net s on x[:, s]."""
        x_SBI = x_BSI.transpose(0, 1)
        weight_SIO = self.weight_SOI.transpose(1, 2)
        if self.bias_SO is None:
            return torch.bmm(x_SBI, weight_SIO).transpose(0, 1)
        return torch.baddbmm(self.bias_SO.unsqueeze(1), x_SBI, weight_SIO).transpose(0, 1)

    def shared(self, x_BI: Tensor) -> Tensor:
        """[B, I] -> [B, S, O]: every net on the same input, as one product."""
        stack, outputs, inputs = self.weight_SOI.shape
        bias = None if self.bias_SO is None else self.bias_SO.reshape(-1)
        return functional.linear(x_BI, self.weight_SOI.reshape(stack * outputs, inputs), bias).view(-1, stack, outputs)


class LayerNorm(nn.Module):
    """Layer normalisation with a scale and shift of each stacked net's own."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(shape))
        self.shift = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:]) * self.scale + self.shift


class BatchNorm(nn.Module):
    """Running moments with a scale and shift; in evaluation no row depends on another."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.moments = RunningMoments(*shape)
        self.scale = nn.Parameter(torch.ones(shape))
        self.shift = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        standardised: Tensor = self.moments(x)
        return standardised * self.scale + self.shift


def after_linear(options: HiddenOptions, *shape: int) -> nn.Sequential:
    """Normalisation, activation and dropout for inputs [B, *shape]."""
    layers: list[nn.Module] = []
    if options.norm == "layer":
        layers.append(LayerNorm(*shape))
    elif options.norm == "batch":
        layers.append(BatchNorm(*shape))
    layers.append(activation(options.activation, *shape))
    if options.dropout > 0:
        layers.append(nn.Dropout(options.dropout))
    return nn.Sequential(*layers)


class StackedMLP(nn.Module):
    """S multilayer perceptrons of equal shape: linear, norm, activation, dropout for each width."""

    def __init__(self, stack: int, inputs: int, widths: Sequence[int], options: HiddenOptions) -> None:
        super().__init__()
        sizes = [inputs, *widths]
        self.linears = nn.ModuleList(StackedLinear(stack, i, o) for i, o in pairwise(sizes))
        self.afters = nn.ModuleList(after_linear(options, stack, o) for o in widths)
        self.outputs = sizes[-1]
        self.stack = stack

    def forward(self, x_BSI: Tensor) -> Tensor:
        """[B, S, I] -> [B, S, O]."""
        return self._from(0, x_BSI)

    def shared(self, x_BI: Tensor) -> Tensor:
        """[B, I] -> [B, S, O], the same input for every net."""
        if not len(self.linears):
            return x_BI.unsqueeze(1).expand(-1, self.stack, -1)
        first = self.linears[0]
        assert isinstance(first, StackedLinear)  # noqa: S101
        return self._from(1, self.afters[0](first.shared(x_BI)))

    def _from(self, layer: int, x: Tensor) -> Tensor:
        for linear, after in zip(self.linears[layer:], self.afters[layer:], strict=True):
            x = after(linear(x))
        return x


class Towers(nn.Module):
    """One tower a task: [B, T, I] -> logits [B, T]."""

    def __init__(self, tasks: int, inputs: int, widths: Sequence[int], options: HiddenOptions) -> None:
        super().__init__()
        self.hidden = StackedMLP(tasks, inputs, widths, options)
        self.logit = StackedLinear(tasks, self.hidden.outputs, 1)

    def forward(self, x_BTI: Tensor) -> Tensor:
        """Every tower on its own input."""
        logit_BT1: Tensor = self.logit(self.hidden(x_BTI))
        return logit_BT1.squeeze(-1)

    def shared(self, x_BI: Tensor) -> Tensor:
        """[B, I] -> [B, T]: every tower on the same input."""
        hidden_BTO = self.hidden.shared(x_BI)
        logit_BT1: Tensor = self.logit(hidden_BTO)
        return logit_BT1.squeeze(-1)
