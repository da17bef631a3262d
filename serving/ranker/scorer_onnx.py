"""Pairs exported to ONNX and run by ONNX Runtime. Legend: N pairs, R requests, n items of the catalogue, P parts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from model.nets.interface import Half
from serving.ranker.compiled import Example, Pairs, PairsOfOne, dynamic_shapes
from serving.ranker.form import PART, FactorisedForm
from serving.ranker.onnx_session import OnnxSession
from serving.ranker.settings import ScorerName

GRAPH = "pairs.onnx"
GRAPH_OF_ONE = "pairs-of-one.onnx"
"""Of a single request, as most calls are."""
INPUTS = ("user", "owner", "item", "table")


def export_graph(pairs: Pairs, arguments: Example, folder: Path) -> None:
    """Writes the graphs into `folder`. Needs the packages onnx and onnxscript."""
    user_RP, _, item_N, table_nP = arguments
    _, _, pairs_N, _ = shapes = dynamic_shapes()
    _export(pairs, arguments, shapes, INPUTS, folder / GRAPH)
    of_one = (user_RP[:1].clone(), item_N, table_nP)
    _export(PairsOfOne(pairs), of_one, (None, pairs_N, None), ("user", "item", "table"), folder / GRAPH_OF_ONE)


def _export(
    module: nn.Module, arguments: tuple[Tensor, ...], shapes: tuple[object, ...], inputs: Sequence[str], path: Path
) -> None:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter speaks of its own deprecations
        program = torch.onnx.export(
            module.eval(),
            arguments,
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=list(inputs),
            output_names=["logit"],
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the ONNX exporter gave no graph")
    program.save(str(path), external_data=False)


class OnnxScorer:
    """Runs graphs that `export_graph` wrote."""

    name: ScorerName = "onnx"

    def __init__(self, form: FactorisedForm, items: Half, folder: Path, threads: int) -> None:
        self.form = form
        self._session = OnnxSession(folder / GRAPH, threads)
        self._of_one = OnnxSession(folder / GRAPH_OF_ONE, threads)
        self._table = items[PART].numpy()

    def score(self, users: Half, owner_N: Tensor, item_N: Tensor) -> Tensor:
        user_RP = users[PART]
        feed = {"user": user_RP.numpy(), "item": item_N.contiguous().numpy(), "table": self._table}
        if user_RP.shape[0] == 1:
            return torch.from_numpy(self._of_one.run(feed))
        return torch.from_numpy(self._session.run(feed | {"owner": owner_N.contiguous().numpy()}))
