"""Every architecture and option set that the laws of this folder are checked on, as mappings of a recipe."""

from __future__ import annotations

from typing import Any

from model.nets.build import build_architecture
from model.nets.config import MODEL_CONFIG
from model.nets.interface import Architecture, InputSpec

Mapping = dict[str, Any]

PLAIN: dict[str, Mapping] = {
    "shared_bottom": {"architecture": "shared_bottom"},
    "mmoe": {"architecture": "mmoe"},
    "mmoe, one expert": {"architecture": "mmoe", "experts": 1},
    "mmoe, no hidden layers": {"architecture": "mmoe", "tower": ()},
    "mmoe, batch norm and dice": {"architecture": "mmoe", "norm": "batch", "activation": "dice"},
    "mmoe, layer norm and prelu": {"architecture": "mmoe", "norm": "layer", "activation": "prelu"},
    "mmoe, periodic numbers": {"architecture": "mmoe", "inputs": {"numeric": "periodic", "standardise": True}},
    "mmoe, numbers as ramps": {"architecture": "mmoe", "inputs": {"numeric": "ramps", "standardise": True}},
    "mmoe, features left out": {"architecture": "mmoe", "inputs": {"feature_dropout": 0.3}},
    "mmoe, numbers through a net": {"architecture": "mmoe", "inputs": {"numeric": "mlp"}},
    "mmoe, numbers through a line": {"architecture": "mmoe", "inputs": {"numeric": "linear"}},
    "mmoe, no ids": {"architecture": "mmoe", "inputs": {"ids": False}},
    "mmoe, hashed ids": {"architecture": "mmoe", "inputs": {"id_rows": 5}},
    "ple": {"architecture": "ple"},
    "cgc": {"architecture": "ple", "levels": 1, "task_experts": 1},
    "aitm": {"architecture": "aitm"},
    "esmm": {"architecture": "esmm"},
    "esmm, first": {"architecture": "esmm", "chain": "first"},
    "esmm, ordered": {"architecture": "esmm", "chain": "ordered"},
}

_MGOE: dict[str, Mapping] = {
    "defaults": {},
    "shared ids": {"task_emb": "macro"},
    "target attention": {"attention": "target"},
    "target attention, shared ids": {"attention": "target", "task_emb": "macro"},
    "gate of ids": {"gate_input": "ids"},
    "gate of shared ids": {"gate_input": "ids", "task_emb": "macro"},
    "mean gate": {"gate": "mean"},
    "stop gradient": {"stop_gradient": True},
    "micro sum, tied": {"micro_weight": "sum", "micro_projection": "tied"},
    "shared ids, micro tied": {"task_emb": "macro", "micro_projection": "tied"},
    "micro off": {"micro": False},
    "one hop": {"two_hop": False},
    "soft table": {"table": "soft"},
    "table off": {"table": "off"},
    "info off": {"info": False},
    "zeros masked": {"mask_zero": True, "tau": 0.5},
    "padding node": {"padding_node": True},
    "relu and layer norm": {"activation": "relu", "norm": "layer"},
    "no plain features": {"plain": False},
    "cross, wide and deep": {"cross": True, "wide": True, "deep": (16, 8)},
    "shared ids, cross, wide and deep": {"task_emb": "macro", "cross": True, "wide": True, "deep": (8,)},
    "degrees, groups": {"inputs": {"degrees": True, "groups": True, "numeric": "periodic", "standardise": True}},
    "neighbour means, degrees": {"inputs": {"neighbour_means": True, "degrees": True, "numeric": "ramps"}},
    "no ids": {"inputs": {"ids": False}},
    "no ids, one hop": {"inputs": {"ids": False}, "two_hop": False, "gate": "mean"},
    "hashed ids": {"inputs": {"id_rows": 5}, "task_emb": "macro"},
    "ids as in MacGNN": {"inputs": {"id_init": "xavier"}},
}

GRAPH: dict[str, Mapping] = {
    "mmoe, degrees and groups": {"architecture": "mmoe", "inputs": {"degrees": True, "groups": True}},
    "mmoe, neighbour means": {"architecture": "mmoe", "inputs": {"neighbour_means": True}},
    "macgnn": {"architecture": "macgnn"},
    "macgnn, independent": {"architecture": "macgnn", "heads": "independent"},
    "macgnn, target attention": {"architecture": "macgnn", "attention": "target", "micro_projection": "own"},
    "macgnn, no features": {"architecture": "macgnn", "plain": False, "micro": False},
    **{f"mgoe, {name}": {"architecture": "mgoe", **options} for name, options in _MGOE.items()},
}

ALL = PLAIN | GRAPH


def build(mapping: Mapping, spec: InputSpec) -> Architecture:
    """Validated and built as a recipe would be."""
    return build_architecture(MODEL_CONFIG.validate_python(mapping), spec)
