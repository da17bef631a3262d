"""What is left of a factorised MMoE or MGOE for the pair, packed in the order in which native_pairs.cpp reads it.

Linear maps lie input by input, and every width that the code runs over whole is padded by zeros to LANES.
Legend: S nets of a stack, I inputs, O outputs, T tasks, D tower width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from model.nets.activation import Dice
from model.nets.factorised import Ahead, Factorised
from model.nets.factorised_mgoe import MGOEFactorised
from model.nets.factorised_plain import PlainFactorised
from model.nets.folded_transfer import FoldedTransfer
from model.nets.mmoe import MMoE
from model.nets.stacked import StackedLinear, StackedMLP

LANES = 16
"""Of native_pairs.cpp."""
_NONE, _RELU, _DICE = range(3)


class NotCovered(RuntimeError):  # noqa: N818  # a property of the model
    """The model has an option that the native code does not know."""


@dataclass
class Packed:
    """entry: the code's function for this architecture."""

    entry: str
    numbers: list[int] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def arrays(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The numbers and, one after the other, the values."""
        whole = torch.cat([each.detach().float().flatten() for each in self.values])
        return np.array(self.numbers, dtype=np.int64), np.ascontiguousarray(whole.numpy())

    def tell(self, *numbers: int) -> None:
        self.numbers += numbers

    def give(self, *values: Tensor) -> None:
        self.values += values

    def linear(self, weight_IO: Tensor, bias_O: Tensor | None = None) -> None:
        """A map whose outputs are padded."""
        weight_IO = wide(weight_IO)
        self.tell(*weight_IO.shape)
        self.give(weight_IO, weight_IO.new_zeros(weight_IO.shape[1]) if bias_O is None else wide(bias_O))

    def activation(self, after: nn.Module, shape: Sequence[int], together: bool = False) -> None:
        """What follows a linear map with outputs of this shape, [S, O]. together: padded at the end, not net by net."""
        module = _one_activation(after)
        size = [padded(shape[0] * shape[1])] if together else [shape[0], padded(shape[1])]
        width = int(np.prod(size))
        if isinstance(module, nn.ReLU):
            self.tell(_RELU, width)
            return
        self.tell(_DICE, width)
        moments = module.moments
        for values in (moments.mean, (moments.var + moments.eps).rsqrt(), module.alpha):
            whole_SO = values.detach().expand(*shape)
            self.give(wide(whole_SO.flatten() if together else whole_SO))


def pack(factorised: Factorised) -> Packed:
    """Raises NotCovered where the model is another, or has options that the code does not know."""
    if isinstance(factorised, MGOEFactorised):
        return _mgoe(factorised)
    if isinstance(factorised, PlainFactorised) and isinstance(factorised.rest, MMoE):
        return _mmoe(factorised.rest)
    raise NotCovered("native code knows MMoE and MGOE")


def padded(width: int) -> int:
    return -(-width // LANES) * LANES


def wide(values: Tensor) -> Tensor:
    """The last dimension padded by zeros."""
    return nn.functional.pad(values.detach(), (0, padded(values.shape[-1]) - values.shape[-1]))


def _mmoe(model: MMoE) -> Packed:
    mixture, towers = model.mixture, model.towers
    if mixture.gates is None:
        raise NotCovered("native code knows mixtures of two experts and more")
    packed = Packed("mmoe_pairs")
    first = mixture.experts.linears[0]
    assert isinstance(first, Ahead)  # noqa: S101
    packed.tell(mixture.tasks, first.stack, first.outputs)
    packed.activation(mixture.experts.afters[0], (first.stack, first.outputs), together=True)
    _layers(packed, mixture.experts, begin=1)
    packed.tell(padded(mixture.outputs))
    _layers(packed, towers.hidden, begin=0)
    _logits(packed, towers.logit, tell=True)
    return packed


def _layers(packed: Packed, mlp: StackedMLP, begin: int) -> None:
    packed.tell(len(mlp.linears) - begin)
    for linear, after in zip(list(mlp.linears)[begin:], list(mlp.afters)[begin:], strict=True):
        assert isinstance(linear, StackedLinear)  # noqa: S101
        for net in range(mlp.stack):
            packed.linear(linear.weight_SOI[net].T, None if linear.bias_SO is None else linear.bias_SO[net])
        packed.activation(after, linear.weight_SOI.shape[:2])


def _logits(packed: Packed, logit: StackedLinear, *, tell: bool = False) -> None:
    out_TD = wide(logit.weight_SOI.squeeze(1))
    if tell:
        packed.tell(out_TD.shape[1])
    bias_T = out_TD.new_zeros(len(out_TD)) if logit.bias_SO is None else logit.bias_SO.squeeze(1)
    packed.give(out_TD, bias_T)


def _mgoe(model: MGOEFactorised) -> Packed:
    if model.cross or "wide" in model.widths or model.deep is not None or not model.mixed:
        raise NotCovered("native code knows MGOE with softmax gates, without cross features, wide or deep part")
    packed = Packed("mgoe_pairs")
    dim = model.tower_THQ.shape[2]
    packed.tell(model.tasks, model.hidden, dim, model.narrow)
    if model.item_TOH is not None:
        for weight_OH in model.item_TOH:
            packed.linear(weight_OH)
    for weight_HQ in model.tower_THQ:
        packed.linear(weight_HQ)
    packed.activation(model.after_fusion, (model.tasks, model.hidden))
    packed.activation(model.after_tower, (model.tasks, dim))
    if isinstance(model.last, FoldedTransfer):
        _transfer(packed, model.last)
    else:
        assert isinstance(model.last, nn.Sequential)  # noqa: S101
        packed.tell(0)
        logit = model.last[0]
        assert isinstance(logit, StackedLinear)  # noqa: S101
        _logits(packed, logit)
    return packed


def _transfer(packed: Packed, last: FoldedTransfer) -> None:
    packed.tell(last.steps)
    for name in ("own", "from_p"):
        for step in range(last.steps):
            weight_OD = last.get_buffer(f"{name}_{step}")
            bias_O = last.get_buffer(f"p_shift_{step}") if name == "from_p" else weight_OD.new_zeros(len(weight_OD))
            # The quadratic form and the value are read apart.
            form_DD, value_DO = weight_OD[: last.dim].T, weight_OD[last.dim :].T
            bias = torch.cat([wide(bias_O[: last.dim]), wide(bias_O[last.dim :])])
            packed.linear(torch.cat([wide(form_DD), wide(value_DO)], dim=1), bias)
    packed.give(*(last.get_buffer(f"score_shift_{step}").reshape(1) for step in range(last.steps)))
    packed.give(wide(last.out_TD), last.out_T)


def _one_activation(after: nn.Module) -> nn.ReLU | Dice:
    modules = [each for each in after.children() if not isinstance(each, nn.Dropout)]
    if len(modules) != 1 or not isinstance(modules[0], nn.ReLU | Dice):
        raise NotCovered("native code knows relu and dice, without normalisation")
    return modules[0]
