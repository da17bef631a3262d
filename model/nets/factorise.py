"""From a trained architecture to its factorised form."""

from __future__ import annotations

from model.nets.factorised import Factorised
from model.nets.factorised_graph import MacGNNFactorised
from model.nets.factorised_mgoe import MGOEFactorised
from model.nets.factorised_plain import PlainFactorised, first_linears
from model.nets.interface import Architecture
from model.nets.macgnn import MacGNN
from model.nets.mgoe import MGOE
from model.nets.plain import PlainArchitecture


def factorise(architecture: Architecture, wide_items: bool = True) -> Factorised | None:
    """The factorised form; None where the pair meets before any linear map (target attention, no hidden layer).

    wide_items: MGOE's items carry their experts' outputs through every task's fusion, T T H numbers, which saves most
    of the work of a pair; without, they carry the outputs alone.
    """
    architecture = architecture.eval()
    form: Factorised | None = None
    match architecture:
        case PlainArchitecture():
            names = first_linears(architecture)
            form = None if names is None else PlainFactorised(architecture, names)
        case MacGNN() if architecture.user.options.attention == "none":
            form = MacGNNFactorised(architecture)
        case MGOE() if architecture.config.attention == "none":
            form = MGOEFactorised(architecture, wide_items)
    return None if form is None else form.eval().requires_grad_(requires_grad=False)
