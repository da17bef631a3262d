"""Learning rate and evaluation moments as pure functions of the step, so that nothing of them needs saving."""

from __future__ import annotations

import math

from model.training.config import TrainingConfig


def rate_factor(step: int, total: int, config: TrainingConfig) -> float:
    """What the peak learning rate is multiplied with at `step` (0-based) of `total`."""
    if step < config.warmup_steps:
        return (step + 1) / (config.warmup_steps + 1)
    if config.schedule == "constant":
        return 1.0
    done = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def is_evaluation(step: int, steps_per_epoch: int, config: TrainingConfig) -> bool:
    """Whether an evaluation follows after `step` steps are done: every `evaluate_every` epochs, and at the end."""
    interval = max(1.0, steps_per_epoch * config.evaluate_every)
    crossed = math.floor(step / interval + 1e-9) > math.floor((step - 1) / interval + 1e-9)
    return crossed or step == steps_per_epoch * config.epochs
