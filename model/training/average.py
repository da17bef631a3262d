"""Exponential moving average of the weights. Source: Polyak and Juditsky (1992), in the form of Adam's own averages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """average = decay * average + (1 - decay) * weights after every step; starts as the weights themselves."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self._parameters = dict(module.named_parameters())
        self.averages = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """To be called after every optimiser step."""
        torch._foreach_lerp_(list(self.averages.values()), list(self._parameters.values()), 1 - self._decay)

    @torch.no_grad()
    def load(self, averages: dict[str, Tensor]) -> None:
        """Takes over averages of the same names."""
        for name, average in self.averages.items():
            average.copy_(averages[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the module's parameters are the averages; buffers stay the live ones."""
        live = {name: parameter.data for name, parameter in self._parameters.items()}
        for name, parameter in self._parameters.items():
            parameter.data = self.averages[name]
        try:
            yield
        finally:
            for name, parameter in self._parameters.items():
                parameter.data = live[name]
