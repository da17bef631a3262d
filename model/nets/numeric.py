"""Numbers as inputs: as they are, or embedded one by one (Gorishniy et al., NeurIPS 2022).

Legend: B rows, G numbers, D width of one number's embedding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.nets.activation import InputMoments
from model.nets.config import InputOptions
from model.nets.stacked import StackedLinear

RAMP_RANGE = 3.0
"""Ramps cover so many standard deviations on either side of the mean."""


class Periodic(nn.Module):
    """[B, G, 1] -> [B, G, 2D]: sin and cos of 2 pi c x, frequencies c learned, N(0, sigma) at first."""

    def __init__(self, numbers: int, frequencies: int, sigma: float) -> None:
        super().__init__()
        self.frequency_GD = nn.Parameter(torch.randn(numbers, frequencies) * sigma)

    def forward(self, x_BG1: Tensor) -> Tensor:
        angle_BGD = 2 * math.pi * self.frequency_GD * x_BG1
        return torch.cat([angle_BGD.sin(), angle_BGD.cos()], dim=-1)


class Ramps(nn.Module):
    """[B, G, 1] -> [B, G, 1 + D]: the number, and D ramps clip((x - k_j) / w, 0, 1) over knots k_j from -3 to 3.

    Piecewise linear encoding (Gorishniy et al., NeurIPS 2022, eq. 1) with equal pieces instead of quantiles, so that no
    pass over the data is needed: what follows can bend its answer to a number at every knot.
    """

    knot_D: Tensor

    def __init__(self, ramps: int) -> None:
        super().__init__()
        self.width = 2 * RAMP_RANGE / ramps
        self.register_buffer("knot_D", torch.arange(ramps) * self.width - RAMP_RANGE, persistent=False)

    def forward(self, x_BG1: Tensor) -> Tensor:
        return torch.cat([x_BG1, ((x_BG1 - self.knot_D) / self.width).clamp(0, 1)], dim=-1)


class Numbers(nn.Module):
    """G numbers -> [B, width]. Each number has weights of its own; no buckets, so no statistics of the data needed."""

    def __init__(self, numbers: int, options: InputOptions) -> None:
        super().__init__()
        dim = options.numeric_dim
        self.standardise = InputMoments(numbers) if options.standardise and numbers else nn.Identity()
        self.width = numbers * {"plain": 1, "ramps": 1 + dim}.get(options.numeric, dim)
        layers: list[nn.Module] = []
        if options.numeric == "ramps":
            layers = [Ramps(dim)]
        elif options.numeric == "linear":
            layers = [StackedLinear(numbers, 1, dim), nn.ReLU()]
        elif options.numeric == "mlp":
            layers = [StackedLinear(numbers, 1, 2 * dim), nn.ReLU(), StackedLinear(numbers, 2 * dim, dim)]
        elif options.numeric == "periodic":
            layers = [Periodic(numbers, dim, options.numeric_sigma), StackedLinear(numbers, 2 * dim, dim), nn.ReLU()]
        self.embed = nn.Sequential(*layers) if numbers else None
        self.leave_out = nn.Dropout1d(options.feature_dropout)

    def forward(self, x_BG: Tensor) -> Tensor:
        if self.embed is None:
            return x_BG
        x_BGD: Tensor = self.embed(self.standardise(x_BG).unsqueeze(-1))
        return self.leave_out(x_BGD).flatten(1)  # type: ignore[no-any-return]
