"""The peer on TorchServe: its BaseHandler's three stages, with its defaults, around the trained network.

What differs from the shipped handlers is only that weights come from a bundle instead of torch.load.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from ts.torch_handler.base_handler import BaseHandler  # type: ignore[import-untyped,unused-ignore]

from benchmarks.serving.rows import batch_of
from model.bundle.bundle import open_bundle
from model.nets.interface import Batch


class StockHandler(BaseHandler):  # type: ignore[misc]  # ts carries no types
    """preprocess -> inference -> postprocess."""

    def initialize(self, context: Any) -> None:
        torch.set_num_threads(1)
        self.bundle = open_bundle(Path(context.model_yaml_config["bundle"]))
        self.model = self.bundle.architecture
        self.initialized = True

    def preprocess(self, data: list[dict[str, Any]]) -> Batch:
        body = json.loads(data[0].get("data") or data[0]["body"])
        moment = body.get("time") or time.time()
        return batch_of(self.bundle, body["user"], body["items"], body.get("context") or {}, moment)

    def inference(self, data: Batch, *_: Any, **__: Any) -> Tensor:
        with torch.inference_mode():
            return torch.sigmoid(self.model(data))

    def postprocess(self, data: Tensor) -> list[dict[str, Any]]:
        score_N = data.sum(dim=1)
        return [
            {
                "probabilities": data.tolist(),
                "score": score_N.tolist(),
                "order": torch.argsort(score_N, descending=True, stable=True).tolist(),
            }
        ]
