"""From a validated config and the sizes of the inputs to an architecture."""

from __future__ import annotations

from model.nets.config import MGOEConfig, MMoEConfig, ModelConfig, SharedBottomConfig
from model.nets.interface import Architecture, InputSpec
from model.nets.mgoe import MGOE
from model.nets.mmoe import MMoE
from model.nets.shared_bottom import SharedBottom


def build_architecture(config: ModelConfig, spec: InputSpec) -> Architecture:
    """The architecture that the config names, with fresh weights from torch's global generator.

    Raises UserError where the config asks for inputs that the spec lacks (a macro graph, ids).
    """
    match config:
        case SharedBottomConfig():
            return SharedBottom(spec, config)
        case MMoEConfig():
            return MMoE(spec, config)
        case MGOEConfig():
            return MGOE(spec, config)
