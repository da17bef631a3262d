"""Small jobs for the loop's tests."""

from __future__ import annotations

import torch

from model.nets.config import MMoEConfig
from model.training.assembly import make_job
from model.training.config import TrainingConfig
from model.training.loop import Job
from tests.model.training.tiny_world import tiny_dataset

SMALL_MMOE = MMoEConfig(experts=2, expert=(8,), tower=(4,))
QUICK = TrainingConfig(batch_size=64, epochs=2, evaluate_every=0.5, patience=99, device="cpu", learning_rate=0.02)


def tiny_job(config: TrainingConfig = QUICK, dropout: float = 0.1) -> Job:
    """MMoE on the tiny dataset, without a graph. Eight steps an epoch or so."""
    model = SMALL_MMOE.model_copy(update={"dropout": dropout})
    return make_job(tiny_dataset(), None, model, config, torch.device("cpu"))
