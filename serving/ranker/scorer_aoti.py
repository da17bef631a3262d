"""Pairs compiled ahead of time by AOTInductor (torch.export), as a .pt2 package."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler

from model.nets.interface import Half
from serving.ranker.compiled import Example, Pairs, at_least_two, dynamic_shapes
from serving.ranker.form import PART, FactorisedForm
from serving.ranker.settings import ScorerName

PACKAGE = "pairs.pt2"


def compile_package(pairs: Pairs, arguments: Example, folder: Path) -> None:
    """Writes the package into `folder`. Raises RuntimeError where there is no C++ compiler, else torch's own errors."""
    _require_compiler()
    with torch.no_grad():
        program = torch.export.export(pairs.eval(), arguments, dynamic_shapes=dynamic_shapes())
        torch._inductor.aoti_compile_and_package(program, package_path=str(folder / PACKAGE))


def _require_compiler() -> None:
    """torch would look for it after half a minute of other work."""
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise RuntimeError(
            "there is no C++ compiler: fill the cache by `mgoe prepare` where there is one (image serve-compiler)"
        ) from None


class AotiScorer:
    """Runs a package that `compile_package` wrote."""

    name: ScorerName = "aoti"

    def __init__(self, form: FactorisedForm, items: Half, folder: Path) -> None:
        self.form = form
        self._table_nP = items[PART]
        self._run = torch._inductor.aoti_load_package(str(folder / PACKAGE))

    def score(self, users: Half, owner_N: Tensor, item_N: Tensor) -> Tensor:
        if len(item_N) == 1:  # the package knows two pairs and more
            return self.score(users, owner_N.expand(2), item_N.expand(2))[:1]
        logit_NT: Tensor = self._run(
            at_least_two(users[PART]), owner_N.contiguous(), item_N.contiguous(), self._table_nP
        )
        return logit_NT
