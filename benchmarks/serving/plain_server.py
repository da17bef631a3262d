"""The peer: a plain FastAPI server around the trained network, as a competent engineer writes it in an afternoon.

It scores rows as training does: a request's user is repeated for every candidate and one forward pass in eager torch
gives all probabilities. Pydantic checks the request, inference mode is on, one thread of torch per process, uvicorn
with uvloop and httptools, a process per core. Bundle, tables and weights are the ranker's own, and so are the answers.

    BUNDLE=folder uvicorn benchmarks.serving.plain_server:app --workers 2
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
from fastapi import FastAPI
from pydantic import BaseModel, Field

from benchmarks.serving.rows import probabilities_of
from model.bundle.bundle import open_bundle
from model.bundle.utility import weights_of

torch.set_num_threads(1)
bundle = open_bundle(Path(os.environ["BUNDLE"]))
app = FastAPI()


class RankingRequest(BaseModel):
    user: str
    items: list[str] = Field(min_length=1, max_length=5000)
    context: dict[str, str | int | float | list[str] | None] = {}
    time: float | None = None
    utility: dict[str, float] | None = None


class RankingAnswer(BaseModel):
    digest: str
    tasks: list[str]
    probabilities: list[list[float]]
    score: list[float]
    order: list[int]


@app.get("/ready")
def ready() -> dict[str, bool]:
    return {"ready": True}


@app.post("/rank")
def rank(request: RankingRequest) -> RankingAnswer:
    moment = time.time() if request.time is None else request.time
    probability_NT = probabilities_of(bundle, request.user, request.items, request.context, moment)
    weights = weights_of(request.utility or bundle.serving.utility, bundle.tasks)
    score_N = probability_NT @ torch.tensor([weights[task] for task in bundle.tasks])
    order_N = torch.argsort(score_N, descending=True, stable=True)
    return RankingAnswer(
        digest=bundle.digest,
        tasks=list(bundle.tasks),
        probabilities=probability_NT.tolist(),
        score=score_N.tolist(),
        order=order_N.tolist(),
    )
