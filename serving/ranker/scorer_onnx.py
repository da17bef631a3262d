"""Pairs exported to ONNX and run by ONNX Runtime."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor

from model.nets.interface import Half
from serving.ranker.compiled import Example, Pairs, at_least_two, dynamic_shapes
from serving.ranker.form import PART, FactorisedForm
from serving.ranker.onnx_session import OnnxSession
from serving.ranker.settings import ScorerName

GRAPH = "pairs.onnx"
INPUTS = ("user", "owner", "item", "table")


def export_graph(pairs: Pairs, arguments: Example, folder: Path) -> None:
    """Writes the graph into `folder`. Needs the packages onnx and onnxscript."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter speaks of its own deprecations
        program = torch.onnx.export(
            pairs.eval(),
            arguments,
            dynamo=True,
            dynamic_shapes=dynamic_shapes(),
            input_names=list(INPUTS),
            output_names=["logit"],
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the ONNX exporter gave no graph")
    program.save(str(folder / GRAPH), external_data=False)


class OnnxScorer:
    """Runs a graph that `export_graph` wrote."""

    name: ScorerName = "onnx"

    def __init__(self, form: FactorisedForm, items: Half, folder: Path, threads: int) -> None:
        self.form = form
        self._session = OnnxSession(folder / GRAPH, threads)
        self._table = items[PART].numpy()

    def score(self, users: Half, owner_N: Tensor, item_N: Tensor) -> Tensor:
        feed = {
            "user": at_least_two(users[PART]).numpy(),
            "owner": owner_N.contiguous().numpy(),
            "item": item_N.contiguous().numpy(),
            "table": self._table,
        }
        return torch.from_numpy(self._session.run(feed))
