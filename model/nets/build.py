"""From a validated config and the sizes of the inputs to an architecture."""

from __future__ import annotations

from model.nets.aitm import AITM
from model.nets.config import (
    AITMConfig,
    ESMMConfig,
    MacGNNConfig,
    MGOEConfig,
    MMoEConfig,
    ModelConfig,
    PLEConfig,
    SharedBottomConfig,
)
from model.nets.esmm import ESMM
from model.nets.interface import Architecture, InputSpec
from model.nets.macgnn import MacGNN
from model.nets.mgoe import MGOE
from model.nets.mmoe import MMoE
from model.nets.ple import PLE
from model.nets.shared_bottom import SharedBottom


def build_architecture(config: ModelConfig, spec: InputSpec) -> Architecture:
    """The architecture that the config names, with fresh weights from torch's global generator.

    Raises UserError where the config asks for inputs that the spec lacks (a macro graph, ids).
    """
    architecture: Architecture
    match config:
        case SharedBottomConfig():
            architecture = SharedBottom(spec, config)
        case MMoEConfig():
            architecture = MMoE(spec, config)
        case PLEConfig():
            architecture = PLE(spec, config)
        case AITMConfig():
            architecture = AITM(spec, config)
        case ESMMConfig():
            architecture = ESMM(spec, config)
        case MacGNNConfig():
            architecture = MacGNN(spec, config)
        case MGOEConfig():
            architecture = MGOE(spec, config)
    return architecture
